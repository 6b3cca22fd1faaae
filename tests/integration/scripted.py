"""A proxy with routes of the test's own in front of one backend that answers by script."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from tests.conformance import proxies
from tests.conformance.backend import Backend, Script
from tests.conformance.case import Case
from tests.integration.door import DEADLINE, start_door, toml_value
from tests.integration.processes import Processes
from tests.ports import free_port

NUMBERS = itertools.count(1)

# The host that `Case.settle` asks, which needs a route of its own.
SETTLING = "conformance.test"


class Ask(Protocol):
    """Make a case, at a path that no other uses, whose backend answers so."""

    def __call__(self, *scripts: Script) -> Case: ...


def routes_of(port: int, routes: Mapping[str, Mapping[str, object]]) -> str:
    """The TOML of routes, host -> settings, to a backend on the port."""
    tables = []
    for host, settings in routes.items():
        lines = {"host": host, "backends": [f"http://127.0.0.1:{port}"], **settings}
        tables.append("[[routes]]\n" + "".join(f"{name} = {toml_value(value)}\n" for name, value in lines.items()))
    return "\n".join(tables)


@contextmanager
def scripted(folder: Path, routes: Mapping[str, Mapping[str, object]], toml: str = "") -> Iterator[Ask]:
    """Run proxy and backend; ``toml`` comes before the routes. Give what makes cases."""
    backend = Backend(free_port())
    cases: list[Case] = []
    try:
        with Processes(folder) as processes:
            door = start_door(processes, toml + routes_of(backend.port, routes))
            proxy = proxies.Proxy("door", ("127.0.0.1", door.port), ("127.0.0.1", door.control_port))

            def ask(*scripts: Script) -> Case:
                cases.append(Case(proxy, backend, f"case-{next(NUMBERS)}", DEADLINE))
                cases[-1].answer(*scripts)
                return cases[-1]

            yield ask
            log = door.process.output()
            assert "Traceback" not in log, log
    finally:
        for case in cases:
            case.close()
        backend.stop()
