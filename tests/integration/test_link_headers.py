"""Fields of a client's request that go into the requests for the next links of its stream."""

from collections.abc import Iterator

import pytest

from tests.conformance.backend import Reply
from tests.conformance.case import Case, held
from tests.integration.scripted import SETTLING, Ask, scripted

COOKIES = ["Cookie", "Authorization"]
SECRETS = [("Cookie", "session=1"), ("authorization", "Bearer x"), ("X-Own", "2")]
ROUTES: dict[str, dict[str, object]] = {
    SETTLING: {},
    "plain.test": {},
    "fields.test": {"link_headers": COOKIES},
    "removed.test": {"link_headers": COOKIES, "headers_remove": ["Cookie"]},
}


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    with scripted(tmp_path_factory.mktemp("links"), ROUTES) as ask:
        yield ask


def link(case: Case, target: str) -> Reply:
    """A page of a stream that goes on elsewhere."""
    return Reply(b"one ", [("Grip-Link", f"<{target}>; rel=next")])


def carried(case: Case, host: str, target: str = "") -> list[list[str]]:
    """The values of Cookie, Authorization and X-Own in the request for the next link."""
    case.answer(link(case, target or f"{case.path}/next"))
    case.backend.on(f"{case.path}/next", Reply(b"two"))
    assert b"one two" == case.get(host=host, fields=SECRETS).body
    request = case.backend.take(f"{case.path}/next")
    return [request.values(name) for name in ("Cookie", "Authorization", "X-Own")]


def test_fields_of_the_client_go_along(ask: Ask) -> None:
    """Those that the route lists, and no others."""
    assert [["session=1"], ["Bearer x"], []] == carried(ask(), "fields.test")


def test_none_go_along_unless_they_are_listed(ask: Ask) -> None:
    assert [[], [], []] == carried(ask(), "plain.test")


def test_what_the_route_removes_stays_removed(ask: Ask) -> None:
    assert [[], ["Bearer x"], []] == carried(ask(), "removed.test")


def test_they_do_not_go_to_other_servers(ask: Ask) -> None:
    """Though it may be the same backend."""
    case = ask()
    assert [[], [], []] == carried(case, "fields.test", f"http://127.0.0.1:{case.backend.port}{case.path}/next")


def test_links_of_a_held_stream_are_asked_for_each_client(ask: Ask) -> None:
    """After a hint, too; equal clients share."""
    case = ask()
    case.answer(held(case.channel, Grip_Link=f"<{case.path}/next>; rel=next"))
    case.backend.on(
        f"{case.path}/next", lambda request: Reply(f"for {request.value('Cookie')}".encode(), [("Grip-Hold", "stream")])
    )
    streams = [case.stream(host="fields.test", fields=[("Cookie", name)]) for name in ("a", "b", "a")]
    case.settle()
    case.publish({"http-stream": {"action": "hint"}})
    assert [b"for a", b"for b", b"for a"] == [stream.read_data(5) for stream in streams]
    assert 2 == case.backend.waiting(f"{case.path}/next")
