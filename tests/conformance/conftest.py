"""Fixtures of the suite: one backend and one proxy for all cases, and a path and a channel for each."""

import itertools
import os
import re
import signal
from collections.abc import Iterator

import pytest

from tests.conformance import proxies
from tests.conformance.backend import DEADLINE, Backend
from tests.conformance.case import Case
from tests.conformance.differences import difference, gap
from tests.ports import free_port

HERE = os.path.dirname(__file__)
NUMBERS = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--proxy", choices=sorted(proxies.PROXIES), help="proxy under test (default gripproxy)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "grip(subject): the part of the protocol that a case belongs to")
    config.addinivalue_line("markers", "slow: waits longer than 15 seconds; runs only with -m slow")


def proxy_name(config: pytest.Config) -> str:
    """The proxy under test: the option, else GRIP_PROXY of the environment, else gripproxy."""
    if "GRIP_PROXY_URL" in os.environ:
        return "given"
    chosen: str | None = config.getoption("--proxy", default=None)
    return chosen or os.environ.get("GRIP_PROXY", "gripproxy")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = [item for item in items if str(item.path).startswith(HERE)]
    name = proxy_name(config)
    for item in here:
        if item.get_closest_marker("slow") and "slow" not in (config.option.markexpr or ""):
            item.add_marker(pytest.mark.skip(reason="takes more than 15 seconds: run it with -m slow"))
        known = difference(item.path.stem, item.name)
        if name == "pushpin" and known:
            item.add_marker(pytest.mark.xfail(reason=known.pushpin, strict=True))
        missing = gap(item.path.stem, item.name)
        if name == "gripproxy" and missing:
            item.add_marker(pytest.mark.xfail(reason=missing, strict=True))


@pytest.fixture(scope="session")
def backend() -> Iterator[Backend]:
    server = Backend(int(os.environ.get("GRIP_BACKEND_PORT") or free_port()))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def proxy(backend: Backend, request: pytest.FixtureRequest) -> Iterator[proxies.Proxy]:
    yield from running(backend, request, is_behind=False)


@pytest.fixture(scope="session")
def proxy_behind(backend: Backend, request: pytest.FixtureRequest) -> Iterator[proxies.Proxy]:
    """A proxy that believes what is said of clients, as one behind another proxy."""
    yield from running(backend, request, is_behind=True)


def running(backend: Backend, request: pytest.FixtureRequest, *, is_behind: bool) -> Iterator[proxies.Proxy]:
    name = proxy_name(request.config)
    if is_behind and name == "given":
        pytest.skip("the settings of a given proxy are not known")
    if missing := proxies.missing(name):
        pytest.skip(f"{', '.join(missing)} not installed")
    # A run that is terminated (by timeout(1), say) ends as by Ctrl-C, so that it leaves no proxy behind.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = proxies.given(os.environ) if name == "given" else proxies.PROXIES[name](backend.port, is_behind=is_behind)
    try:
        proxies.wait_until_ready(started, backend)
        yield started
    finally:
        started.stop()
        signal.signal(signal.SIGTERM, before)


@pytest.fixture
def case(proxy: proxies.Proxy, backend: Backend, request: pytest.FixtureRequest) -> Iterator[Case]:
    """The proxy and the backend, with a path and a channel that no other case uses."""
    yield from made(proxy, backend, request)


@pytest.fixture
def behind(proxy_behind: proxies.Proxy, backend: Backend, request: pytest.FixtureRequest) -> Iterator[Case]:
    """The same with the proxy that is behind another one."""
    yield from made(proxy_behind, backend, request)


def made(proxy: proxies.Proxy, backend: Backend, request: pytest.FixtureRequest) -> Iterator[Case]:
    name = f"{next(NUMBERS)}-{re.sub('[^a-z0-9]+', '-', request.node.name.lower())[:40].strip('-')}"
    expected_to_fail = request.node.get_closest_marker("xfail") is not None
    current = Case(proxy, backend, name, 2.5 if expected_to_fail else DEADLINE)
    yield current
    current.close()
