"""Where a configuration comes from, so that it can be read again: the file, the environment, the command line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gripproxy.config import Config, load
from gripproxy.config.reader import Stamp, stamp_of


class Source:
    """The file as it is now; the environment and the command line as they were when the process started."""

    def __init__(self, path: Path | None, environment: Mapping[str, str], overrides: Mapping[str, Any]) -> None:
        self._path = path
        self._environment = dict(environment)
        self._overrides = dict(overrides)
        # Of the files that the latest reading looked at: the configuration's own, and those that it names.
        self.stamps: dict[str, Stamp] = {}

    def read(self) -> Config:
        """The configuration.

        Raises: ConfigError
        """
        stamps: dict[str, Stamp] = {}
        try:
            return load(self._path, self._environment, self._overrides, stamps)
        finally:
            # Also of a file that can't be used: it is worth another reading once it changes.
            self.stamps = stamps

    def look(self) -> dict[str, Stamp]:
        """The stamps of the same files now."""
        return {path: stamp_of(path) for path in self.stamps}
