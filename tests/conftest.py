"""What every test may ask for: a program of the operating system, by name.

A test never passes because its program is missing: it fails and says how to get the program, unless
``GRIPPROXY_TESTS_WITHOUT`` lists the name, in which case it is skipped with that reason.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

WITHOUT = "GRIPPROXY_TESTS_WITHOUT"


class Program(NamedTuple):
    """Where a program may be found, and how to get it where it is not."""

    commands: tuple[str, ...]
    debian: str
    macos: str


PROGRAMS = {
    "chromium": Program(
        (
            "chromium",
            "chromium-browser",
            "google-chrome",
            "google-chrome-stable",
            "/Applications/Chromium.app/Contents/MacOS/Chromium",
            "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        ),
        "apt-get install chromium",
        "brew install --cask chromium",
    ),
    "curl": Program(("curl",), "apt-get install curl", "part of the system"),
    "nginx": Program(("nginx", "/usr/sbin/nginx"), "apt-get install nginx-light", "brew install nginx"),
    "node": Program(("node", "nodejs"), "apt-get install nodejs", "brew install node"),
    "npm": Program(("npm",), "apt-get install npm", "brew install node"),
    "promtool": Program(("promtool",), "apt-get install prometheus", "brew install prometheus"),
    "pushpin": Program(("pushpin",), "apt-get install pushpin", "brew install pushpin"),
    "redis-server": Program(("redis-server",), "apt-get install redis-server", "brew install redis"),
}


def find_program(name: str) -> Path | None:
    """Return the path of a program of the table, or None where this machine lacks it."""
    found = (shutil.which(command) for command in PROGRAMS[name].commands)
    return next((Path(path) for path in found if path), None)


def require_program(name: str) -> Path:
    """Return the path of a program; without it, fail the test and say how to get the program.

    Programs that the environment variable ``GRIPPROXY_TESTS_WITHOUT`` lists (commas between) count as missing, and
    the test is skipped.
    """
    if name in (given.strip() for given in os.environ.get(WITHOUT, "").split(",")):
        pytest.skip(f"needs {name}, which {WITHOUT} rules out")
    path = find_program(name)
    if path is None:
        program = PROGRAMS[name]
        pytest.fail(
            f"needs {name}: {program.debian} (macOS: {program.macos}), or set {WITHOUT}={name} to skip what needs it",
            pytrace=False,
        )
    return path


@pytest.fixture(scope="session")
def requires_program() -> Callable[[str], Path]:
    """Give a function: name of a program -> its path; see ``require_program``."""
    return require_program


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "requires_program(*names): programs without which the test fails, and says so")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("requires_program"):
        for name in marker.args:
            require_program(name)


def pytest_report_header() -> list[str]:
    missing = [name for name in PROGRAMS if find_program(name) is None]
    return [f"missing programs: {', '.join(missing)} (what needs them will fail)"] if missing else []
