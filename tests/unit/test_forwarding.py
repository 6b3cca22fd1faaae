"""A client's request on its way to a backend: what ends here, what goes on, what is believed."""

from dataclasses import dataclass

import pytest
from aiohttp import HttpVersion
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from multidict import CIMultiDict

from gripproxy import config
from gripproxy.config import Config, File, Secret, Server
from gripproxy.forwarding import Forwarding, MalformedRequestError
from gripproxy.grip.fields import Fields
from gripproxy.routes import Route, Routes

HOST = (b"Host", b"example.com")


@dataclass
class Request:
    """What forwarding looks at of a request."""

    raw_headers: Fields = (HOST,)
    raw_path: str = "/"
    method: str = "GET"
    version: HttpVersion = HttpVersion(1, 1)  # noqa: RUF009 - a tuple
    remote: str | None = "192.0.2.1"

    @property
    def headers(self) -> CIMultiDict[str]:
        return CIMultiDict(
            (name.decode(), value.decode("utf-8", "surrogateescape")) for name, value in self.raw_headers
        )


DEFAULTS = Server()


def route(**settings: object) -> Route:
    settings = {"backends": ("http://10.0.0.1:8000",), **settings}
    found = Routes(Config(routes=(config.Route(**settings),)), b"k" * 32).match("example.com", "/")  # type: ignore[arg-type]
    assert found is not None
    return found


def passed(
    *fields: tuple[bytes, bytes], trusted: tuple[str, ...] = (), server: Server = DEFAULTS, **settings: object
) -> Fields:
    """Return the fields that a backend gets for these, without those that are always there."""
    request = Request((HOST, *fields))
    forwarding = Forwarding(replace(server, trusted_proxies=trusted))
    got = forwarding.fields(request, route(**settings), "example.com")  # type: ignore[arg-type]
    always = (HOST, *UNTRUSTED)
    return tuple(field for field in got if field not in always)


UNTRUSTED = (
    (b"X-Forwarded-For", b"192.0.2.1"),
    (b"X-Forwarded-Proto", b"http"),
    (b"X-Forwarded-Host", b"example.com"),
)


def test_ordinary_fields_go_on_as_they_are_and_in_order() -> None:
    fields = (b"Accept", b"*/*"), (b"cookie", b"a=1;  b=2"), (b"X-Twice", b"1"), (b"x-twice", b"\xff")
    assert fields == passed(*fields)


@pytest.mark.parametrize(
    "name",
    [
        b"Connection",
        b"Keep-Alive",
        b"Proxy-Connection",
        b"TE",
        b"Transfer-Encoding",
        b"Upgrade",
        b"Content-Length",
        b"Expect",
        b"Accept-Encoding",
        b"Grip-Sig",
        b"grip-anything",
        b"Grip_Sig",
        b"gRiP_Hold",
        b"Eb9bf0f5-X-Own",
        b"eb9bf0f5_x",
        b"X-Forwarded-For",
        b"x_forwarded_for",
        b"X_Forwarded-Proto",
        b"Forwarded",
    ],
)
def test_what_ends_here_or_is_for_proxies_to_say(name: bytes) -> None:
    """Names with `_` too: WSGI servers cannot tell them from those with `-`."""
    assert () == passed((name, b"1"))


def test_what_connection_names_ends_here() -> None:
    assert ((b"X-Kept", b"1"),) == passed((b"Connection", b"close, X-Hop"), (b"x-hop", b"1"), (b"X-Kept", b"1"))


def test_connection_cannot_take_the_host_away() -> None:
    request = Request((HOST, (b"Connection", b"host, x")))
    assert HOST in Forwarding(Server()).fields(request, route(), "example.com")  # type: ignore[arg-type]


def test_without_grip_a_body_may_be_compressed() -> None:
    fields = ((b"Accept-Encoding", b"gzip"),)
    assert fields == passed(*fields, grip=False)


@pytest.mark.parametrize(
    ("remote", "trusted", "expected"),
    [
        ("192.0.2.1", (), b"192.0.2.1"),
        ("192.0.2.1", ("10.0.0.0/8",), b"192.0.2.1"),
        ("10.1.2.3", ("10.0.0.0/8",), b"203.0.113.9, 10.1.2.3"),
        ("10.1.2.3", ("192.0.2.0/24", "10.1.2.3"), b"203.0.113.9, 10.1.2.3"),
        ("::1", ("10.0.0.0/8",), b"::1"),
        ("::1", ("::1",), b"203.0.113.9, ::1"),
        ("fe80::1%eth0", ("fe80::/10",), b"203.0.113.9, fe80::1%eth0"),
        ("", ("10.0.0.0/8",), b"203.0.113.9"),  # a Unix socket
        ("", (), None),
    ],
)
def test_who_is_believed_about_the_client(remote: str, trusted: tuple[str, ...], expected: bytes | None) -> None:
    request = Request((HOST, (b"X-Forwarded-For", b"203.0.113.9")), remote=remote)
    got = dict(Forwarding(Server(trusted_proxies=trusted)).fields(request, route(), "example.com"))  # type: ignore[arg-type]
    assert expected == got.get(b"X-Forwarded-For")


def test_all_that_a_trusted_proxy_says_goes_on() -> None:
    fields = (
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", b"public.example"),
        (b"X-Forwarded-Port", b"443"),
        (b"Forwarded", b"for=203.0.113.9"),
    )
    assert set(fields) <= set(passed(*fields, trusted=("192.0.2.1",)))


@pytest.mark.parametrize(("is_secure", "expected"), [(True, b"https"), (False, b"http")])
def test_the_scheme_is_the_listeners(is_secure: bool, expected: bytes) -> None:
    server = Server(certificate=(File("c.pem"),)) if is_secure else Server()
    got = Forwarding(server).fields(Request(), route(), "example.com")  # type: ignore[arg-type]
    assert expected == dict(got)[b"X-Forwarded-Proto"]


def test_a_route_sets_and_removes_fields() -> None:
    settings = {"headers_set": {"X-Set": "new"}, "headers_remove": ("X-Secret",)}
    got = passed((b"x-set", b"old"), (b"X-SECRET", b"1"), (b"X-Kept", b"1"), **settings)
    assert ((b"X-Kept", b"1"), (b"X-Set", b"new")) == got


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/", ("example.com", "/")),
        ("/a%2Fb?x=%41", ("example.com", "/a%2Fb?x=%41")),
        ("http://other.example/a?b", ("other.example", "/a?b")),
        ("HTTP://other.example:80", ("other.example:80", "/")),
        ("http://other.example?x=/", ("other.example", "/?x=/")),
        ("//double/slash", ("example.com", "//double/slash")),
    ],
)
def test_host_and_target(target: str, expected: tuple[str, str]) -> None:
    """An absolute target's host stands above the Host field (RFC 9112 3.2.2)."""
    assert expected == Forwarding(Server()).check(Request(raw_path=target))  # type: ignore[arg-type]


def test_a_server_can_be_asked_for_its_options() -> None:
    request = Request(raw_path="*", method="OPTIONS")
    assert ("example.com", "*") == Forwarding(Server()).check(request)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (Request(()), 400),
        (Request((HOST, HOST)), 400),
        (Request(((b"Host", b"a b"),)), 400),
        (Request(((b"Host", b"a/b"),)), 400),
        (Request(((b"Host", b"user@a"),)), 400),
        (Request(((b"Host", b"[:1:]"),)), 400),
        (Request(((b"Host", b"[1.2.3.4]"),)), 400),
        (Request(((b"Host", b"a:65536"),)), 400),
        (Request(raw_path="http://[::::]/a"), 400),
        (Request((HOST, (b"Transfer-Encoding", b"gzip, chunked"))), 400),
        (Request((HOST, (b"Transfer-Encoding", b"chunked")), version=HttpVersion(1, 0)), 400),
        (Request(version=HttpVersion(1, 2)), 505),
        (Request(version=HttpVersion(2, 0)), 505),
        (Request(raw_path="*"), 400),
        (Request(raw_path="relative"), 400),
        (Request(raw_path="/a#b"), 400),
        (Request(raw_path="http:///a"), 400),
        (Request(raw_path="http://a b/"), 400),
        (Request(raw_path="http://user@a/"), 400),
        (Request(raw_path="ftp://a/"), 400),
    ],
)
def test_what_a_parser_lets_pass_and_a_proxy_must_not(request_: Request, status: int) -> None:
    with pytest.raises(MalformedRequestError) as caught:
        Forwarding(Server()).check(request_)  # type: ignore[arg-type]
    assert status == caught.value.status


@pytest.mark.parametrize(
    "host", [b"[::1]", b"[2001:db8::1]:8080", b"a:", b"a:0080", b"a_b.example:65535", b"127.0.0.1"]
)
def test_hosts_that_are_taken(host: bytes) -> None:
    request = Request(((b"Host", host),))
    assert (host.decode(), "/") == Forwarding(Server()).check(request)  # type: ignore[arg-type]


@given(st.text(max_size=30), st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=10))
def test_any_target_and_host_are_understood_or_refused(target: str, host: str) -> None:
    request = Request(((b"Host", host.encode()),), raw_path=target)
    try:
        _, path = Forwarding(Server()).check(request)  # type: ignore[arg-type]
    except MalformedRequestError:
        return
    assert path.startswith("/")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (((b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")), True),
        (((b"upgrade", b"h2c, WebSocket"), (b"connection", b"keep-alive, upgrade")), True),
        (((b"Upgrade", b"websocket"),), False),
        (((b"Connection", b"Upgrade"),), False),
        (((b"Upgrade", b"websockets"), (b"Connection", b"Upgrade")), False),
    ],
)
def test_websocket_requests(fields: Fields, expected: bool) -> None:
    request = Request((HOST, *fields))
    assert expected == Forwarding(Server()).is_websocket(request)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "trusted", "has_certificate", "expected"),
    [
        ((), (), False, False),
        ((), (), True, True),
        (((b"X-Forwarded-Proto", b"https"),), (), False, False),
        (((b"X-Forwarded-Proto", b"https"),), ("10.0.0.0/8",), False, False),
        (((b"X-Forwarded-Proto", b"https"),), ("192.0.2.1",), False, True),
        (((b"x-forwarded-proto", b"WSS"),), ("192.0.2.1",), False, True),
        (((b"X-Forwarded-Proto", b"http"),), ("192.0.2.1",), True, False),  # what the client spoke to the one in front
        (((b"X-Forwarded-Proto", b"https, http"),), ("192.0.2.1",), False, False),
        ((), ("192.0.2.1",), True, True),
    ],
)
def test_who_says_that_a_request_is_secure(
    fields: Fields, trusted: tuple[str, ...], has_certificate: bool, expected: bool
) -> None:
    server = Server(trusted_proxies=trusted, certificate=(File("c.pem"),) if has_certificate else ())
    assert expected == Forwarding(server).is_secure(Request((HOST, *fields)))  # type: ignore[arg-type]


# The id of a request

TRUSTING = Server(trusted_proxies=("192.0.2.1",))


def test_each_request_has_an_id_of_its_own() -> None:
    forwarding = Forwarding(DEFAULTS)
    ((name, first),), ((_, second),) = (forwarding.id_fields(Request()) for _ in range(2))  # type: ignore[arg-type]
    ((_, other),) = Forwarding(DEFAULTS).id_fields(Request())  # type: ignore[arg-type]
    assert b"X-Request-Id" == name
    assert 3 == len({first, second, other.replace(b"-1", b"-2")})


@pytest.mark.parametrize(
    ("given", "server", "is_taken"),
    [
        ((b"abc/DEF-1",), TRUSTING, True),
        ((b"abc",), DEFAULTS, False),
        ((b"abc",), Server(trusted_proxies=("10.0.0.0/8",)), False),
        ((b"",), TRUSTING, False),
        ((b"a b",), TRUSTING, False),
        ((b"a\xff",), TRUSTING, False),
        ((b"a" * 129,), TRUSTING, False),
        ((b"a", b"b"), TRUSTING, False),
    ],
)
def test_an_id_is_taken_from_trusted_proxies(given: tuple[bytes, ...], server: Server, is_taken: bool) -> None:
    request = Request((HOST, *((b"x-request-id", one) for one in given)))
    ((_, got),) = Forwarding(server).id_fields(request)  # type: ignore[arg-type]
    assert is_taken == (got in given)


@pytest.mark.parametrize("name", [b"X-Request-Id", b"x_request_id", b"X_Request-ID"])
def test_the_backend_gets_one_id(name: bytes) -> None:
    request = Request((HOST, (name, b"forged"), (b"X-Request-Id-Of", b"1")))
    got = Forwarding(TRUSTING).fields(request, route(), "example.com", ((b"X-Request-Id", b"own"),))  # type: ignore[arg-type]
    assert [b"1", b"own"] == [value for name, value in got if b"request" in name.lower()]


def test_the_field_of_ids_can_be_another_or_none() -> None:
    request = Request((HOST, (b"X-Request-Id", b"a"), (b"Trace_Id", b"b")))
    named, none = Server(request_id="Trace-Id"), Server(request_id="")
    assert b"Trace-Id" == Forwarding(named).id_fields(request)[0][0]  # type: ignore[arg-type]
    assert () == Forwarding(none).id_fields(request)  # type: ignore[arg-type]
    assert ((b"X-Request-Id", b"a"),) == passed(*request.raw_headers[1:], server=named)
    assert request.raw_headers[1:] == passed(*request.raw_headers[1:], server=none)


# Routes that are chosen by name

BY_NAME = Server(trusted_proxies=("192.0.2.1",), accept_pushpin_route=True)


@pytest.mark.parametrize(("remote", "expected"), [("192.0.2.1", "one"), ("192.0.2.2", ""), ("", "one")])
def test_who_may_choose_the_route(remote: str, expected: str) -> None:
    request = Request((HOST, (b"pushpin-route", b"one")), remote=remote)
    assert expected == Forwarding(BY_NAME).route_name(request)  # type: ignore[arg-type]


def test_two_names_of_routes_are_refused() -> None:
    """A proxy in front that adds its field behind the client's would let the client choose."""
    request = Request((HOST, (b"Pushpin-Route", b"one"), (b"Pushpin-Route", b"two")))
    with pytest.raises(MalformedRequestError, match="more than once"):
        Forwarding(BY_NAME).route_name(request)  # type: ignore[arg-type]
    assert "" == Forwarding(BY_NAME).route_name(Request())  # type: ignore[arg-type]


def test_the_name_of_a_route_is_for_the_proxy_alone() -> None:
    fields = ((b"Pushpin-Route", b"1"), (b"Pushpin_Route", b"2"))
    assert () == passed(*fields, server=BY_NAME)
    assert () == passed(*fields, server=BY_NAME, trusted=("192.0.2.1",))
    assert fields == passed(*fields)


# CDN-Loop

CDN = Server(cdn_loop="me.test:80")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), b"me.test:80"),
        ((b"a; x=1",), b"a; x=1, me.test:80"),
        ((b"a", b'b; c="d, e"'), b'a, b; c="d, e", me.test:80'),
        ((b"",), b"me.test:80"),
    ],
)
def test_the_proxy_adds_its_name_to_cdn_loop(given: tuple[bytes, ...], expected: bytes) -> None:
    fields = tuple((b"cdn-loop", one) for one in given)
    assert ((b"CDN-Loop", expected),) == passed(*fields, server=CDN)
    assert fields == passed(*fields)


@pytest.mark.parametrize(
    ("given", "is_loop"),
    [
        ((b"me.test:80",), True),
        ((b"a, ME.test:80 ; x=1",), True),
        ((b"a", b"b,me.test:80"), True),
        ((b"me.test",), False),
        ((b"not-me.test:80, me.test:801",), False),
        ((b'a; x="me.test:80"',), False),
        ((b'a; x=", me.test:80',), True),  # a client that leaves a quote open hides nothing
        ((b"\xff",), False),
    ],
)
def test_a_request_that_was_here_before_is_refused(given: tuple[bytes, ...], is_loop: bool) -> None:
    request = Request((HOST, *((b"CDN-Loop", one) for one in given)))
    if is_loop:
        with pytest.raises(MalformedRequestError, match="before") as caught:
            Forwarding(CDN).check(request)  # type: ignore[arg-type]
        assert 508 == caught.value.status
    else:
        Forwarding(CDN).check(request)  # type: ignore[arg-type]
    Forwarding(DEFAULTS).check(request)  # type: ignore[arg-type]


def test_connection_cannot_take_cdn_loop_away() -> None:
    """RFC 8586 2: every proxy has to see it."""
    fields = ((b"CDN-Loop", b"a"),)
    assert fields == passed((b"Connection", b"cdn-loop, x"), *fields)


# Marked fields

MARKED = ((b"eb9bf0f5-X-Own", b"1"), (b"eb9bf0f5-x-need", b"2"))


def test_a_backend_that_wants_them_gets_the_fields_as_they_came() -> None:
    fields = (
        (b"X-Set", b"client"),
        (b"Accept-Encoding", b"gzip"),
        (b"Grip-Sig", b"x"),
        (b"X-Forwarded-For", b"203.0.113.9"),
    )
    ending = ((b"Connection", b"close"), (b"Content-Length", b"0"), (b"Expect", b"100-continue"))
    got = passed(*fields, *ending, orig_headers=True, headers_set={"X-Set": "route"})
    marked = tuple((b"eb9bf0f5-" + name, value) for name, value in (HOST, *fields))
    assert ((b"X-Set", b"route"), *marked) == got


def test_marks_come_from_trusted_proxies() -> None:
    host = (b"eb9bf0f5-Host", b"example.com")
    assert (host,) == passed(*MARKED, orig_headers=True)
    assert {host, *MARKED} == set(passed(*MARKED, orig_headers=True, trusted=("192.0.2.1",)))
    assert () == passed(*MARKED, trusted=("192.0.2.1",))


def test_some_fields_have_to_come_marked() -> None:
    server = Server(orig_headers_need_mark=("X-Need", "host"))
    assert ((b"X-NEED", b"1"),) == passed((b"X-NEED", b"1"), orig_headers=True, server=server)


def test_what_a_grip_proxy_in_front_has_marked_goes_on_as_it_is() -> None:
    found = route(orig_headers=True, upstream_key=Secret("k" * 32)).trusted
    assert found is not None
    request = Request((HOST, *MARKED, (b"X-Own", b"3")))
    got = Forwarding(DEFAULTS).fields(request, found, "example.com")  # type: ignore[arg-type]
    assert (*MARKED,) == tuple(field for field in got if field[0].startswith(b"eb9bf0f5-"))
