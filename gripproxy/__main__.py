"""The command line: `gripproxy run`, `check`, `publish`, `load`, `import-routes`; each lives with its subject."""

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Any

import click

from gripproxy import __version__
from gripproxy import check as checking
from gripproxy.config import unread
from gripproxy.config.source import Source
from gripproxy.errors import ConfigError
from gripproxy.import_routes import import_routes_command
from gripproxy.load.command import load_command
from gripproxy.logs import configure
from gripproxy.publish import publish_command
from gripproxy.server import Server

log = logging.getLogger("gripproxy")

CONFIG_OPTION = click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), help="The configuration file (TOML)."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def main() -> None:
    """A realtime push proxy that speaks GRIP.

    It keeps HTTP streams, long-polls and WebSockets open for an application that says so with response headers, and
    sends them what the application publishes.

    \b
    Examples:
      gripproxy run --backend http://127.0.0.1:8000    stand in front of an application
      gripproxy publish news 'It works'                publish to everyone who listens to news
      gripproxy check --config config.toml             what a configuration comes to
    """


@main.command()
@CONFIG_OPTION
@click.option("--listen", metavar="HOST:PORT", help="Where clients connect.  [default: 127.0.0.1:7999]")
@click.option("--control", metavar="HOST:PORT", help="Where backends publish.  [default: 127.0.0.1:5561]")
@click.option("--backend", metavar="URL", help="Send every request to this backend, in place of all routes.")
def run(config: Path | None, listen: str | None, control: str | None, backend: str | None) -> None:
    """Run the proxy until SIGTERM or Ctrl-C.

    Settings come from the file, are overridden by variables such as GRIPPROXY__SERVER__LISTEN, and those by the options
    here. Exits with 2 and one line on standard error when one of them is wrong. SIGHUP has the file read again.

    \b
    Examples:
      gripproxy run --backend http://127.0.0.1:8000
      gripproxy run --backend http://127.0.0.1:8000 --listen :80
      gripproxy run --config config.toml
    """
    overrides = {"server.listen": listen, "control.listen": control, "backend": backend}
    try:
        source = Source(config, os.environ, overrides)
        settings = source.read()
        checking.verify(settings)
        configure(settings.log)
        for text in unread(os.environ):
            log.warning("%s", text)
        _run(Server(settings, source))
    except ConfigError as error:
        _fail(str(error), 2)
    except OSError as error:
        _fail(f"gripproxy: {error}", 1)


@main.command()
@CONFIG_OPTION
@click.option("--backend", metavar="URL", help="Send every request to this backend, in place of all routes.")
def check(config: Path | None, backend: str | None) -> None:
    """Check a configuration, and print what it comes to.

    Variables such as GRIPPROXY__SERVER__LISTEN count as they do for run. Exits with 2 and one line on standard error
    when run would refuse it.

    \b
    Example:
      gripproxy check --config config.toml
    """
    try:
        lines = checking.check(config, os.environ, {"backend": backend})
    except ConfigError as error:
        _fail(str(error), 2)
    for line in lines:
        click.echo(line)


main.add_command(publish_command)
main.add_command(load_command)
main.add_command(import_routes_command)


def _fail(message: str, status: int) -> Any:
    click.echo(message, err=True)
    sys.exit(status)


def _run(server: Server) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(server.run())
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(server.run())


if __name__ == "__main__":
    main()
