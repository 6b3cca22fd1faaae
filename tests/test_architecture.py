"""The floors of the architecture: who may import whom, read from the source and kept by this test.

A module imports from floors below its own. A package is one floor, and inside it imports are free of cycles.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Module or package of gripproxy -> floor. A new module needs a line here: decide where it lives.
FLOORS = {
    "__main__": 8,  # the command line
    "server": 7,  # the house
    "check": 7,  # and what it would come to
    "proxy": 6,  # doors ...
    "control": 6,
    "publish": 6,  # ... and commands: each is a client of what lies below
    "import_routes": 6,
    "zeromq": 6,  # a door without HTTP
    "logs": 6,
    "notify": 6,
    "reload": 6,
    "drain": 5,  # the end of holds
    "repeats": 2,
    "instructs": 5,  # from an answer to a hold
    "holding": 5,
    "opening": 5,
    "endings": 5,  # and what comes after it
    "door": 5,  # what a command knocks at
    "resolved": 4,  # what a configuration comes to
    "forwarding": 4,  # holds
    "links": 4,
    "delivery": 4,
    "canary": 4,
    "transports": 4,
    "backend": 3,  # hands
    "bus": 3,
    "audience": 3,  # looks into the hub
    "routes": 2,  # memory
    "auth": 2,
    "hub": 2,
    "subscriptions": 2,
    "sessions": 2,
    "receipts": 2,
    "unheard": 2,
    "metrics": 2,
    "collector": 2,
    "certificates": 2,
    "changes": 2,
    "grip": 1,  # the protocol
    "marks": 1,  # the hub's; pure, too
    "targets": 1,  # and values
    "routes_file": 1,
    "meter": 1,  # and numbers
    "config": 0,  # ground
}
# May be imported from everywhere: the words for what went wrong, and the version.
GROUND = {"errors", "gripproxy"}
# A subject of its own: load-tests any proxy from outside, so it knows nothing of this one.
APART = {"load": {"load", "errors"}}
# Publishing and holding meet only in the hub.
STRANGERS = {("proxy", "bus"), ("proxy", "control"), ("control", "hub"), ("control", "proxy")}
# The protocol is a function of its arguments: no input or output, no clock, no chance.
IMPURE = {"asyncio", "aiohttp", "socket", "time", "random", "secrets", "logging", "os", "threading", "uvloop"}


def python_files(folder: str) -> list[Path]:
    found = (path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)
    return sorted(path.relative_to(ROOT) for path in found)


def module_name(path: Path) -> str:
    """Turn gripproxy/grip/item.py into gripproxy.grip.item."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted name of everything that a file imports, also inside functions and for types only."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package.pop()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*start, *([node.module] if node.module else [])])
            for alias in node.names:
                inside = f"{source}.{alias.name}"
                yield inside if is_module(inside) else source


def is_module(name: str) -> bool:
    path = ROOT / Path(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def subject(name: str) -> str:
    """Name the line of the table for a dotted name: gripproxy.grip.item -> grip, gripproxy -> gripproxy."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def of_gripproxy(path: Path) -> list[str]:
    return [name for name in imports(path) if name.split(".")[0] == "gripproxy"]


PACKAGE_FILES = [path.as_posix() for path in python_files("gripproxy") if path.parts[1:] != ("__init__.py",)]


@pytest.mark.parametrize("file", PACKAGE_FILES)
def test_a_module_imports_only_from_floors_below_its_own(file: str) -> None:
    own = subject(module_name(Path(file)))
    wrong = []
    for name in of_gripproxy(Path(file)):
        other = subject(name)
        if own in APART:
            allowed = other in APART[own]
        elif own in GROUND:
            allowed = other in GROUND
        else:
            allowed = other in GROUND or (other == own and is_package(own)) or is_below(other, own)
        if not allowed or (own, other) in STRANGERS:
            wrong.append(name)

    assert [] == wrong


def is_package(name: str) -> bool:
    return (ROOT / "gripproxy" / name).is_dir()


def is_below(other: str, own: str) -> bool:
    if other in APART:
        return own == "__main__"  # the command line starts it
    return FLOORS.get(other, 99) < FLOORS.get(own, -1)  # one without a floor is told by the next test


def test_every_module_has_a_floor_and_every_floor_a_module() -> None:
    there = {subject(module_name(Path(file))) for file in PACKAGE_FILES}

    assert set() == there - set(FLOORS) - set(APART) - GROUND
    assert set() == set(FLOORS) - there


@pytest.mark.parametrize("package", ["grip", "bus", "config", "transports", "load"])
def test_imports_inside_a_package_are_free_of_cycles(package: str) -> None:
    graph = {}
    for path in python_files(f"gripproxy/{package}"):
        inside = {name for name in of_gripproxy(path) if subject(name) == package}
        graph[module_name(path)] = inside - {module_name(path)}

    assert list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("file", [path.as_posix() for path in python_files("gripproxy/grip")])
def test_the_protocol_is_pure(file: str) -> None:
    assert set() == {name.split(".")[0] for name in imports(Path(file))} & IMPURE


def test_proxy_and_example_never_import_each_other() -> None:
    """Both know the protocol only by its public words, so that neither works by knowing the other."""
    for folder, stranger in (("gripproxy", "headline_backend"), ("headline_backend", "gripproxy")):
        for path in python_files(folder):
            assert stranger not in {name.split(".")[0] for name in imports(path)}, path


@pytest.mark.parametrize("folder", ["tests/integration", "tests/conformance"])
def test_tests_from_outside_import_nothing_from_inside(folder: str) -> None:
    """They see what a client, a publisher and a backend see; so they can be run against any proxy."""
    inside = {"gripproxy", "headline_backend", "headline", "headlines"}
    for path in python_files(folder):
        assert set() == {name.split(".")[0] for name in imports(path)} & inside, path


def test_this_test_sees_imports() -> None:
    """A check that finds nothing wrong is worth something only if it finds what is there."""
    assert {"ast", "pathlib", "pytest"} <= set(imports(Path("tests/test_architecture.py")))
