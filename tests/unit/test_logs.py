"""Log lines as text and as JSON."""

import asyncio
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gripproxy import logs, repeats
from gripproxy.config import Log
from gripproxy.logs import configure

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Undo what `configure` does to the process."""
    root, raising = logging.getLogger(), logging.raiseExceptions
    names = ("gripproxy.access", "aiohttp")
    before = root.level, root.handlers[:], [logging.getLogger(name).level for name in names]
    yield
    root.level, root.handlers[:] = before[:2]
    for name, level in zip(names, before[2], strict=True):
        logging.getLogger(name).setLevel(level)
    root.setLevel(before[0])
    logging.raiseExceptions = raising


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Time, level, name and message in one line on standard error."""
    configure(Log())
    logging.getLogger("gripproxy.x").warning("%d items", 3)
    captured = capsys.readouterr()
    assert "" == captured.out
    assert captured.err.endswith(" WARNING gripproxy.x: 3 items\n")


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("a\nWARNING gripproxy.x: b\r\n", r"a\nWARNING gripproxy.x: b\r\n"),
        ("\x1b[31mred \x9b\x7f", r"\x1b[31mred \x9b\x7f"),
        ("a\u2028b \u202ec \udc80", r"a\u2028b \u202ec \udc80"),
        ("größer \U0001f600", "größer \U0001f600"),
    ],
    ids=["line ends", "control characters", "what is not shown", "letters"],
)
def test_a_message_is_a_line_of_what_can_be_shown(capsys: pytest.CaptureFixture[str], message: str, line: str) -> None:
    """It may quote a backend or a publisher, who must not write lines of their own, or to the terminal."""
    configure(Log())
    logging.getLogger("gripproxy.x").warning("%s", message)
    assert capsys.readouterr().err.endswith(f" WARNING gripproxy.x: {line}\n")


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """One object a line; a line end in a message is escaped, and so no line of its own."""
    configure(Log(json=True))
    logging.getLogger("gripproxy.x").info("a\nb é")
    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert {"level": "info", "logger": "gripproxy.x", "message": "a\nb é"}.items() <= entry.items()
    assert entry["time"].endswith("Z")


def test_json_has_the_traceback_inside(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Log(json=True))
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("gripproxy.x").exception("failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "ValueError: why" in json.loads(line)["traceback"]


def test_the_id_of_a_request_stands_at_the_end_of_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Log())
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("gripproxy.x").exception("failed", extra={"request_id": "a-1"})
    assert " gripproxy.x: failed request=a-1\nTraceback" in capsys.readouterr().err


def test_json_has_the_id_of_a_request_as_a_member(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Log(json=True))
    logging.getLogger("gripproxy.x").info("a", extra={"request_id": "a-1"})
    logging.getLogger("gripproxy.x").info("b", extra={})
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert ("a", "a-1") == (first["message"], first["request_id"])
    assert "request_id" not in second


def test_level(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Log(level="warning"))
    logging.getLogger("gripproxy.x").info("not shown")
    assert "" == capsys.readouterr().err


@pytest.mark.parametrize("access", [True, False])
def test_the_access_log_is_on_when_asked_for(capsys: pytest.CaptureFixture[str], access: bool) -> None:
    configure(Log(access=access))
    logging.getLogger("gripproxy.access").info("GET /")
    assert access == ("GET /" in capsys.readouterr().err)


def test_members_stand_beside_the_message_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Those that are known; what else a record has is nobody's business."""
    configure(Log(json=True))
    extra = {"route": "web", "peer": "192.0.2.1", "backend": "http://b:1", "channel": "", "secret": "x"}
    logging.getLogger("gripproxy.x").warning("down", extra=extra)
    entry = json.loads(capsys.readouterr().err)
    assert {"route": "web", "peer": "192.0.2.1", "backend": "http://b:1"}.items() <= entry.items()
    assert {"channel", "secret", "repeats", "taskName"}.isdisjoint(entry)


@pytest.mark.parametrize("is_json", [True, False])
def test_what_is_alike_is_summed_up(capsys: pytest.CaptureFixture[str], is_json: bool) -> None:
    configure(Log(json=is_json))
    for _ in range(500):
        logging.getLogger("gripproxy.x").warning("down", extra={"route": "web"})
    (handler,) = logging.getLogger().handlers
    handler.close()
    *lines, last = capsys.readouterr().err.splitlines()
    assert 10 == len(lines)
    if is_json:
        assert {"message": "down", "route": "web", "repeats": 490}.items() <= json.loads(last).items()
    else:
        assert last.endswith(" WARNING gripproxy.x: down (and 490 more like it)")


def test_sums_are_written_when_they_are_due(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "SUM_UP_EVERY", 0.0)
    monkeypatch.setattr(repeats, "PERIOD", 0.0)
    configure(Log())
    for _ in range(11):
        logging.getLogger("gripproxy.x").warning("down")

    async def wait() -> None:
        summing = asyncio.create_task(logs.sum_up())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        summing.cancel()

    asyncio.run(wait())
    assert capsys.readouterr().err.endswith("down (and 1 more like it)\n")


def test_every_member_is_documented_and_no_other() -> None:
    section = DOCUMENT.read_text(encoding="utf-8").partition("\n## What is in the log\n")[2].partition("\n## ")[0]
    rows = [re.findall(r"`(\w+)`", line.split("|")[1]) for line in section.splitlines() if line.startswith("| `")]
    assert {*logs.MEMBERS, "traceback"} == {name for names in rows for name in names}
