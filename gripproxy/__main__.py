"""The command line: `gripproxy run`, `check`, `publish`, `load`. Each command lives with its subject."""

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Any

import click

from gripproxy import __version__
from gripproxy.config import Config, load
from gripproxy.errors import ConfigError
from gripproxy.server import Server


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """A realtime push proxy that speaks GRIP."""


def _load(config: Path | None, overrides: dict[str, Any]) -> Config:
    try:
        return load(config, os.environ, overrides)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(2)


@main.command()
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="The configuration file (TOML).")
@click.option("--listen", metavar="HOST:PORT", help="Where clients connect.")
@click.option("--control", metavar="HOST:PORT", help="Where backends publish.")
@click.option("--backend", metavar="URL", help="Send every request to this backend.")
def run(config: Path | None, listen: str | None, control: str | None, backend: str | None) -> None:
    """Run the proxy."""
    overrides = {"server.listen": listen, "control.listen": control, "backend": backend}
    settings = _load(config, {key: value for key, value in overrides.items() if value is not None})
    logging.basicConfig(
        level=settings.log.level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", stream=sys.stderr
    )
    server = Server(settings)
    try:
        _run(server)
    except (ConfigError, OSError) as error:
        click.echo(f"gripproxy: {error}", err=True)
        sys.exit(2 if isinstance(error, ConfigError) else 1)


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
