"""``gripproxy load``: the options of a load test, and its exit status.

0 when everything arrived once and in order, 1 when it did not, 2 when the options are wrong or the proxy cannot be
reached.
"""

import os
import sys
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from gripproxy.errors import ConfigError, GripError
from gripproxy.load.dialer import file_limit
from gripproxy.load.plan import KINDS, Control, Plan, endpoints

UNCLEAN, UNUSABLE = 1, 2
#: Columns of the table where there is no terminal.
PLAIN_WIDTH = 140


@click.command("load", context_settings={"max_content_width": 110})
@click.option(
    "--url",
    "urls",
    multiple=True,
    required=True,
    metavar="URL",
    help="What connections ask for; {channel} and {mode} (stream, ws, poll) are filled in. KIND=URL is for one kind.",
)
@click.option(
    "--control",
    envvar="GRIP_URL",
    default="http://127.0.0.1:5561",
    show_default=True,
    show_envvar=True,
    metavar="URL",
    help="Control URI of the proxy as in GRIP_URL: with ?iss=...&key=... publishes are signed.",
)
@click.option(
    "--publish-url", metavar="URL", help="Post the bare message to this URL instead: for servers without GRIP."
)
@click.option(
    "--mode", type=click.Choice(list(KINDS)), default="stream", show_default=True, help="Kind of connections."
)
@click.option("--connections", "-c", type=int, default=1000, show_default=True, help="How many to hold.")
@click.option("--channels", type=int, default=1, show_default=True, help="Channels that they are spread over.")
@click.option("--channel", default="load-{n}", show_default=True, help="Name of a channel; {n} is its number.")
@click.option("--messages", "-n", type=int, help="How many to publish, to all channels in turn.  [default: 100]")
@click.option("--duration", type=float, metavar="SECONDS", help="Publish for this long (or hold, with --messages 0).")
@click.option("--rate", type=float, help="Messages per second.  [default: as fast as they are accepted]")
@click.option("--lockstep", is_flag=True, help="Publish the next message when the last one has arrived everywhere.")
@click.option("--publishers", type=int, default=1, show_default=True, help="Connections that publish.")
@click.option("--size", type=int, default=100, show_default=True, help="Bytes of a message.")
@click.option("--processes", type=int, help="Processes that hold connections.  [default: half the cores]")
@click.option("--connect-burst", type=int, default=100, show_default=True, help="Handshakes in flight at most.")
@click.option("--settle", type=float, metavar="SECONDS", help="Rest before publishing.  [default: 1; 3 with polls]")
@click.option(
    "--stall",
    type=float,
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Silence after which what is missing is lost.",
)
@click.option("--never-read", type=int, default=0, show_default=True, help="How many of the connections never read.")
@click.option(
    "--churn", type=float, default=0.0, show_default=True, help="Connections dropped and dialled anew per second."
)
@click.option(
    "--pid", "pids", type=int, multiple=True, help="Process of the proxy whose CPU and memory are reported; repeatable."
)
@click.option("--insecure", is_flag=True, help="Do not verify certificates.")
@click.option("--json", "json_path", metavar="FILE", help="Write the report as JSON; - for stdout.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw latencies and deliveries (SVG).")
@click.option("--quiet", "-q", is_flag=True, help="Show nothing while it runs.")
def load_command(**options: Any) -> None:
    """Load-test the fan-out of a GRIP proxy.

    Holds connections through the proxy, publishes on its control endpoint, and checks that every message reaches
    every connection once and in order. Exits with 0 when they did, 1 when not, 2 when it could not be found out.

    \b
    Examples:
      gripproxy load --url http://127.0.0.1:7999/events --channel news
      gripproxy load --url 'http://127.0.0.1:7999/stream/{channel}' --channels 10 --lockstep
      gripproxy load --mode ws --url ws://127.0.0.1:7999/socket --channel news --duration 30 --rate 50
    """
    # The processes of the test import this module when they are spawned; they need none of this.
    from gripproxy.load.display import Display
    from gripproxy.load.fleet import run_load
    from gripproxy.load.plot import draw
    from gripproxy.load.report import build_table

    progress = Console(stderr=True, quiet=options["quiet"])
    try:
        plan = build_plan(options)
        plan.check_files(file_limit())
        for name in ("json_path", "plot"):
            if options[name] not in (None, "-"):
                check_output(Path(options[name]))
        with Display(plan, progress) as display:
            report = run_load(plan, display.show)
    except GripError as error:
        click.echo(f"gripproxy load: {error}", err=True)
        sys.exit(UNUSABLE)
    to_stdout = options["json_path"] == "-"
    console = Console(stderr=to_stdout)
    console.print(build_table(report), width=None if console.is_terminal else PLAIN_WIDTH)
    document = msgspec.json.format(msgspec.json.encode(report.to_json()), indent=1)
    if to_stdout:
        click.echo(document)
    elif options["json_path"]:
        Path(options["json_path"]).write_bytes(document + b"\n")
    if options["plot"] is not None:
        options["plot"].write_text(draw(report), encoding="utf-8")
    sys.exit(0 if report.is_clean else UNCLEAN)


def check_output(path: Path) -> None:
    """Find out before the test, and not when it is over, that its report cannot be written.

    Raises: ConfigError
    """
    target = path if path.exists() else path.parent
    if path.is_dir() or not target.exists() or not os.access(target, os.W_OK):
        reason = (
            "it is a folder" if path.is_dir() else "there is no such folder" if not target.exists() else "not allowed"
        )
        raise ConfigError(f"{path}: cannot be written: {reason}")


def build_plan(options: dict[str, Any]) -> Plan:
    """The plan that the options describe. Raises: ConfigError."""
    if options["publish_url"]:
        control = Control.from_plain_url(options["publish_url"])
    else:
        control = Control.from_grip_url(options["control"])
    names = (
        *("mode", "channel", "channels", "connections", "connect_burst", "publishers", "messages", "duration", "rate"),
        *("size", "settle", "stall", "never_read", "churn", "pids"),
    )
    return Plan(
        urls=endpoints(options["mode"], options["urls"]),
        control=control,
        is_lockstep=options["lockstep"],
        processes=options["processes"] or max(1, (os.cpu_count() or 1) // 2),
        is_verified=not options["insecure"],
        **{name: options[name] for name in names},
    )
