"""The options of `gripproxy load` and its exit status."""

import pytest
from click.testing import CliRunner

from gripproxy.load.command import build_plan, load_command

URL = ("--url", "http://127.0.0.1:7999/{mode}/{channel}")


def test_options_make_a_plan() -> None:
    arguments = [
        *URL,
        "--mode",
        "mixed",
        "-c",
        "30",
        "-n",
        "5",
        "--lockstep",
        "--control",
        "http://h?key=k",
        "--pid",
        "7",
    ]

    context = load_command.make_context("load", arguments)
    plan = build_plan(context.params)

    assert ("mixed", 30, 5, True, b"k", (7,)) == (
        *(plan.mode, plan.connections, plan.messages, plan.is_lockstep),
        *(plan.control.key, plan.pids),
    )


def test_a_bare_publish_url_takes_the_place_of_the_control_uri() -> None:
    context = load_command.make_context("load", [*URL, "--publish-url", "http://h/pub/{channel}"])

    assert not build_plan(context.params).control.is_grip


def test_the_grip_url_of_the_environment_is_the_control_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIP_URL", "http://elsewhere:5561")

    assert "elsewhere" == build_plan(load_command.make_context("load", [*URL]).params).control.endpoint.host


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "Missing option '--url'"),
        ([*URL, "--mode", "sse"], "'--mode'"),
        (["--url", "nonsense"], "gripproxy load: --url"),
        ([*URL, "--lockstep", "--rate", "5"], "gripproxy load: --lockstep"),
        ([*URL, "-c", "5000000", "--processes", "1"], "gripproxy load: --connections: a process needs"),
        ([*URL, "--json", "/nowhere/a.json"], "gripproxy load: /nowhere/a.json: cannot be written: there is no such"),
        ([*URL, "--plot", "/nowhere/a.svg"], "gripproxy load: /nowhere/a.svg: cannot be written: there is no such"),
        ([*URL, "--json", "/"], "gripproxy load: /: cannot be written: it is a folder"),
    ],
)
def test_wrong_options_exit_with_2(arguments: list[str], complaint: str) -> None:
    result = CliRunner().invoke(load_command, arguments, env={"COLUMNS": "200"})

    assert (2, True) == (result.exit_code, complaint in result.output), result.output
