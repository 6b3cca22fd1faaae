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
from gripproxy.config import Config, load, unread
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


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """A realtime push proxy that speaks GRIP."""


@main.command()
@CONFIG_OPTION
@click.option("--listen", metavar="HOST:PORT", help="Where clients connect.  [default: 127.0.0.1:7999]")
@click.option("--control", metavar="HOST:PORT", help="Where backends publish.  [default: 127.0.0.1:5561]")
@click.option("--backend", metavar="URL", help="Send every request to this backend.")
def run(config: Path | None, listen: str | None, control: str | None, backend: str | None) -> None:
    """Run the proxy."""
    overrides = {"server.listen": listen, "control.listen": control, "backend": backend}
    try:
        settings: Config = load(config, os.environ, overrides)
        checking.verify(settings)
        configure(settings.log)
        for text in unread(os.environ):
            log.warning("%s", text)
        _run(Server(settings))
    except ConfigError as error:
        _fail(str(error), 2)
    except OSError as error:
        _fail(f"gripproxy: {error}", 1)


@main.command()
@CONFIG_OPTION
@click.option("--backend", metavar="URL", help="Send every request to this backend.")
def check(config: Path | None, backend: str | None) -> None:
    """Validate a configuration and print what each route resolves to."""
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
