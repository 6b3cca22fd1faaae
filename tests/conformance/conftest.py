"""Fixtures of the suite: one backend and one proxy for all cases, and a path and a channel for each.

Cases marked `slow` run with `--slow` only: after all others, and all of them at the same time.
"""

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
from tests.conformance.together import Together, is_slow
from tests.ports import free_port

HERE = os.path.dirname(__file__)
NUMBERS = itertools.count(1)
TOGETHER = pytest.StashKey[Together]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--proxy", choices=sorted(proxies.PROXIES), help="proxy under test (default gripproxy)")
    parser.addoption("--slow", action="store_true", help="run the cases that wait longer than 10 seconds, too")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TOGETHER] = Together(lambda item, model: make_case(item, model.proxy, model.backend))
    config.addinivalue_line("markers", "grip(subject): the part of the protocol that a case belongs to")
    config.addinivalue_line(
        "markers", "slow: waits longer than 10 seconds; runs with --slow, beside the other slow ones"
    )


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
        if is_slow(item) and not config.getoption("--slow", default=False):
            item.add_marker(pytest.mark.skip(reason="takes more than 10 seconds: run it with --slow"))
        known = difference(item.path.stem, item.name)
        if name == "pushpin" and known:
            item.add_marker(pytest.mark.xfail(reason=known.pushpin, strict=True))
        missing = gap(item.path.stem, item.name)
        if name == "gripproxy" and missing:
            item.add_marker(pytest.mark.xfail(reason=missing, strict=True))
    items.sort(key=lambda item: is_slow(item) and str(item.path).startswith(HERE))  # they come last


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


def make_case(item: pytest.Function, proxy: proxies.Proxy, backend: Backend) -> Case:
    """A case with a path and a channel of its own, named after the test."""
    name = f"{next(NUMBERS)}-{re.sub('[^a-z0-9]+', '-', item.name.lower())[:40].strip('-')}"
    expected_to_fail = item.get_closest_marker("xfail") is not None
    return Case(proxy, backend, name, 2.5 if expected_to_fail else DEADLINE)


@pytest.fixture
def case(proxy: proxies.Proxy, backend: Backend, request: pytest.FixtureRequest) -> Iterator[Case]:
    """The proxy and the backend, with a path and a channel that no other case uses."""
    yield from made(proxy, backend, request)


@pytest.fixture
def behind(proxy_behind: proxies.Proxy, backend: Backend, request: pytest.FixtureRequest) -> Iterator[Case]:
    """The same with the proxy that is behind another one."""
    yield from made(proxy_behind, backend, request)


def made(proxy: proxies.Proxy, backend: Backend, request: pytest.FixtureRequest) -> Iterator[Case]:
    current = make_case(request.node, proxy, backend)
    yield current
    current.close()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not is_slow(pyfuncitem):
        return None
    pyfuncitem.config.stash[TOGETHER].wait_for(pyfuncitem)
    return True
