"""A host and path find their route, with its targets, fields and signer resolved."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gripproxy import config
from gripproxy.config import Config, Realm, Secret, Server
from gripproxy.errors import ConfigError
from gripproxy.grip.fields import Fields
from gripproxy.grip.tokens import Key, verify
from gripproxy.routes import Route, Routes, log_extra
from gripproxy.targets import Target

RANDOM = b"random" * 6
BACKENDS = ("http://127.0.0.1:8000",)


BY_NAME = config.Server(accept_pushpin_route=True, trusted_proxies=("127.0.0.1",))


def routes(
    *settings: Mapping[str, Any], realms: dict[str, Realm] | None = None, server: config.Server | None = None
) -> Routes:
    """Routes of these settings, each with the one backend unless it names others."""
    all_routes = tuple(config.Route(**{"backends": BACKENDS, **one}) for one in settings)
    return Routes(Config(routes=all_routes, realms=realms or {}, server=server or config.Server()), RANDOM)


def only(setting: Mapping[str, Any], realms: dict[str, Realm] | None = None) -> Route:
    (route,) = routes(setting, realms=realms)
    return route


MANY = [
    {"id": "any"},
    {"id": "any-a", "path": "/a"},
    {"id": "any-ab", "path": "/a/b"},
    {"id": "exact", "host": "www.Example.org", "path": "/x"},
    {"id": "wild", "host": "*.example.org", "path": "/w"},
    {"id": "wilder", "host": "*.org", "path": "/w"},
    {"id": "wilder-x", "host": "*.org", "path": "/x"},
    {"id": "folder", "path": "/folder/"},
    {"id": "six", "host": "[::1]", "path": "/six"},
]


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        # the longest path, at the boundary of a segment
        ("a", "/", "any"),
        ("a", "/a", "any-a"),
        ("a", "/a/", "any-a"),
        ("a", "/a?x", "any-a"),
        ("a", "/a/b/c?x", "any-ab"),
        ("a", "/abc", "any"),
        ("a", "/a%2Fb", "any"),
        ("a", "/folder/x", "folder"),
        ("a", "/folder/", "folder"),
        ("a", "/folder", "any"),
        ("a", "*", "any"),
        ("a", "", "any"),
        # the exact host, however it is written
        ("www.example.org", "/x", "exact"),
        ("WWW.EXAMPLE.ORG:8080", "/x/y", "exact"),
        ("www.example.org.", "/x", "exact"),
        ("www.example.org.:80", "/x", "exact"),
        ("[::1]:80", "/six", "six"),
        ("[::1]", "/six", "six"),
        # wildcards, the longest first, then "*", also for a host that has rules of its own
        ("other.example.org", "/w", "wild"),
        ("a.b.example.org", "/w", "wild"),
        ("www.example.org", "/w", "wild"),
        ("example.org", "/w", "wilder"),
        ("b.org", "/x", "wilder-x"),
        ("www.example.org", "/y", "any"),
        ("org", "/w", "any"),
        ("", "/a", "any-a"),
        ("[", "/", "any"),
        ("[::1", "/six", "any"),
    ],
)
def test_host_and_path_find_the_most_specific_route(host: str, path: str, expected: str) -> None:
    table = routes(*MANY)
    for _ in range(2):  # the second time from memory
        found = table.match(host, path)
        assert found is not None
        assert expected == found.id


BY_KIND = [
    {"id": "any"},
    {"id": "any-long", "path": "/long"},
    {"id": "ws", "protocol": "websocket"},
    {"id": "tls", "tls": True},
    {"id": "plain-x", "path": "/x", "tls": False},
    {"id": "any-x", "path": "/x"},
    {"id": "http-deep", "path": "/x/y", "protocol": "http"},
    {"id": "http-tls-deep", "path": "/x/y", "protocol": "http", "tls": True},
    {"id": "only-tls", "host": "tls.test", "tls": True},
    {"id": "only-ws", "host": "ws.test", "protocol": "websocket", "path": "/x"},
]


@pytest.mark.parametrize(
    ("host", "path", "kind", "expected"),
    [
        ("a", "/", "http", "any"),
        ("a", "/", "https", "tls"),
        ("a", "/", "ws", "ws"),
        ("a", "/", "wss", "ws"),
        # the longest path before TLS, in whatever order they stand; the protocol before the path
        ("a", "/long", "https", "any-long"),
        ("a", "/long", "ws", "ws"),
        ("a", "/x", "http", "plain-x"),
        ("a", "/x", "https", "any-x"),
        ("a", "/x/y", "http", "http-deep"),
        ("a", "/x/y", "https", "http-tls-deep"),
        ("a", "/x/y", "ws", "ws"),
        # the host before everything, if it has anything for the request
        ("tls.test", "/long", "https", "only-tls"),
        ("tls.test", "/long", "http", "any-long"),
        ("ws.test", "/x", "ws", "only-ws"),
        ("ws.test", "/x", "http", "plain-x"),
        ("ws.test", "/", "ws", "ws"),
    ],
)
def test_protocol_and_tls_find_their_route(host: str, path: str, kind: str, expected: str) -> None:
    for settings in (BY_KIND, BY_KIND[::-1]):
        table = routes(*settings)
        for _ in range(2):
            found = table.match(host, path, is_websocket=kind[:2] == "ws", is_secure=kind[-1] == "s")
            assert found is not None
            assert expected == found.id


def test_routes_of_other_requests_are_none() -> None:
    table = routes({"protocol": "websocket"}, {"host": "b", "tls": False})

    assert table.match("a", "/") is None
    assert table.match("b", "/", is_secure=True) is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/a", "a"), ("/a/x", "a"), ("/a?x", "a"), ("/abc", "raw"), ("/a-b/c", "raw"), ("/ab/c", "longer"), ("/b", None)],
)
def test_a_star_takes_whatever_begins_so(path: str, expected: str | None) -> None:
    """The route for whole segments is the more special one of the same length."""
    settings = [{"id": "raw", "path": "/a*"}, {"id": "a", "path": "/a"}, {"id": "longer", "path": "/ab/*"}]
    found = routes(*settings).match("a", path)
    assert expected == (found and found.id)


def test_a_star_may_be_meant() -> None:
    found = routes({"path": "/a**"}).match("a", "/a*b")
    assert found is not None
    assert routes({"path": "/a**"}).match("a", "/ab") is None


def test_a_route_is_named_by_the_id_it_was_given() -> None:
    """Whatever its host and path are; the links of such a request are for the same route, so it has no host."""
    table = routes(
        {"id": "named", "host": "a", "path": "/a", "upstream_key": Secret("k" * 32)}, {"host": "b"}, server=BY_NAME
    )
    named = table.named("named")
    assert named is not None
    assert ("named", "", "/a") == (named.id, named.host, named.path)
    assert named.trusted is not None
    assert "" == named.trusted.host
    assert [None, None] == [table.named("b/"), table.named("")]


def test_a_route_without_host_is_found_by_its_id_only() -> None:
    table = routes({"id": "hidden", "host": ""}, server=BY_NAME)

    assert [None, None, None] == [table.match(host, "/") for host in ("", "hidden", "a")]
    assert table.named("hidden") is not None


def test_what_the_proxy_asks_of_itself_carries_its_name() -> None:
    assert ((b"CDN-Loop", b"cdn.test"),) == routes({}, server=config.Server(cdn_loop="cdn.test")).generated_fields
    assert () == routes({}).generated_fields


def test_without_a_matching_rule_there_is_no_route() -> None:
    table = routes({"host": "a", "path": "/a"}, {"host": "*.b"})

    assert [None, None, None] == [table.match("a", "/b"), table.match("b", "/"), table.match("", "/")]


@given(st.text(), st.text())
def test_any_host_and_path_find_a_catch_all(host: str, path: str) -> None:
    assert ROUTES_OF_ALL.match(host, path) is next(iter(ROUTES_OF_ALL))


ROUTES_OF_ALL = routes({})


def test_the_memory_for_hosts_has_an_end() -> None:
    """Clients choose the Host field; it must not fill memory, nor change what is found."""
    table = routes({}, {"host": "*.b", "id": "b"})
    for number in range(5000):
        found = table.match(f"{number}.b", "/")
        assert found is not None
        assert "b" == found.id

    assert all(len(remembered) <= 1024 for remembered in table._remembered)


def test_without_conditions_hosts_are_remembered_once() -> None:
    table = routes({}, {"host": "a"})
    table.match("a", "/")
    assert 1 == len({id(remembered) for remembered in table._remembered})


def table(url: str = "http://b", **settings: Any) -> config.Backend:
    return config.Backend(url=url, **settings)


def test_a_table_differs_from_the_route_where_it_says_so() -> None:
    own = table(
        "https://b:1",
        weight=3,
        host_header="h",
        websocket="passthrough",
        subscribe=("x",),
        verify=False,
        client_cert="",
    )
    route = only({"backends": ("http://a", own), "subscribe": ("y",), "one_event": True, "client_cert": "c"})

    assert (
        Target("http", "a", 80, one_event=True, subscribe=("y",), client_cert="c"),
        Target("https", "b", 1, 3, "h", "passthrough", True, ("x",), verify=False),
    ) == route.targets


def test_what_a_target_begins_is_of_the_route_with_its_settings() -> None:
    """Channels of holds, and TLS of their links; a route whose targets are alike is one and the same."""
    route = only({"backends": ("http://a", table(subscribe=("x",), ca="c"), table("http://c", host_header="h"))})
    first, own, third = (route.at(target) for target in route.targets)

    assert first is third
    assert (((), ""), (("x",), "c")) == ((first.subscribe, first.ca), (own.subscribe, own.ca))
    assert (route.targets, route.id, route.prefix) == (own.targets, own.id, own.prefix)
    assert route.at(Target("http", "elsewhere", 80)) is route
    alike = only({"backends": ("http://a", table(host_header="h"))})
    assert alike.at(alike.targets[1]) is alike


def test_targets_that_take_websockets_in_different_ways_are_apart() -> None:
    route = only({"backends": ("http://a", table(websocket="passthrough"), "http://c", table(one_event=True))})
    a, b, c, d = route.targets

    assert {("over-http", False): (a, c), ("passthrough", False): (b,), ("over-http", True): (d,)} == {
        kind: part.targets for kind, part in route.parts.items()
    }
    assert {"over-http", "passthrough"} == route.modes
    alike = only({"backends": ("http://a", "http://b"), "websocket": "passthrough"})
    assert (alike.modes, alike.parts) == ({"passthrough"}, {})
    assert alike.part(alike.targets[0].kind) is alike
    assert alike.part(("over-http", False)) is None
    assert (b,) == (route.part(("passthrough", False)) or route).targets


def test_a_route_that_is_named_stays_so() -> None:
    """In all forms that its targets give it, since links of holds depend on that."""
    own = table(subscribe=("x",), websocket="passthrough")
    named = routes({"id": "n", "backends": ("http://a", own), "upstream_key": "k"}).named("n")
    assert named is not None
    assert named.trusted is not None
    forms = [named.at(named.targets[1]), *named.parts.values(), *named.trusted.parts.values()]
    assert [""] * 5 == [form.host for form in forms]
    assert all(form.at(named.targets[1]).host == "" for form in forms)
    assert all(form.host == "" for form in named.variants.values())


def test_of_a_proxy_in_front_nothing_is_held_here() -> None:
    """So that targets have no channels of their own for it; their modes stay."""
    route = only({"backends": ("http://a", table(subscribe=("x",), websocket="passthrough")), "upstream_key": "k"})
    trusted = route.trusted
    assert trusted is not None
    assert trusted.at(trusted.targets[1]) is trusted
    assert [(True, 1), (True, 1)] == [(part.is_trusted, len(part.targets)) for part in trusted.parts.values()]


@pytest.mark.parametrize(
    ("path", "rewrite", "target", "expected"),
    [
        ("/a", None, "/a/x?y", "/a/x?y"),
        ("/a", "/b", "/a/x?y", "/b/x?y"),
        ("/a", "/b", "/a?y", "/b?y"),
        ("/a", "/b", "/a", "/b"),
        ("/a", "/", "/a/x", "/x"),
        ("/a", "/", "/a", "/"),
        ("/a", "/", "/a?y", "/?y"),
        ("/a", "/b/", "/a/x", "/b/x"),
        ("/", "/b", "/x", "/b/x"),
        ("/", "/b", "/", "/b"),
        ("/", "/b", "/?y", "/b?y"),
        ("/", "/b/", "/x", "/b/x"),
        ("/a/", "/b", "/a/x", "/b/x"),
        ("/a/", "/b/", "/a/", "/b/"),
        # behind a star the rest stays as it is, but for a second slash
        ("/a*", "/b", "/abc?y", "/bbc?y"),
        ("/a*", "/b", "/a", "/b"),
        ("/a*", "/", "/a/b", "/b"),
        ("/a*", "/", "/abc", "/bc"),
        ("/a*", "/", "/a?y", "/?y"),
        ("/a/*", "/b", "/a/x", "/bx"),
        ("/api-v1*", "/v1", "/api-v1/x", "/v1/x"),
        ("/*", "/b", "/x", "/bx"),
        # a request that names the route may be for any path
        ("/a", "/b", "/x", "/x"),
        ("/a", "/b", "/abc", "/abc"),
        ("/a/", "/b", "/a", "/a"),
        ("/", "/b", "*", "*"),
    ],
)
def test_the_matched_path_is_replaced(path: str, rewrite: str | None, target: str, expected: str) -> None:
    assert expected == only({"path": path, "rewrite": rewrite}).rewritten(target)


def test_settings_are_resolved() -> None:
    route = only(
        {
            "host": "A.B",
            "path": "/c",
            "headers_set": {"X-A": "ä"},
            "headers_remove": ("X-B",),
            "host_header": "h:1",
            "cors": ("https://a",),
            "upstream_key": Secret("hex:00"),
        }
    )

    assert ("a.b/c", "a.b") == (route.id, route.host)
    assert ((b"X-A", "ä".encode()),) == route.headers_set
    assert frozenset({b"x-b"}) == route.headers_remove
    assert "h:1" == route.targets[0].host_header
    assert frozenset({"https://a"}) == route.cors
    assert Key.from_bytes(b"\0") == route.upstream_key


@pytest.mark.parametrize(
    ("name", "fields", "expected"),
    [
        ("X-Request-Id", ((b"A", b"1"), (b"x-request-id", b"\xc3\xa4")), {"request_id": "ä"}),
        ("Trace", ((b"X-Request-Id", b"1"), (b"trace", b"2")), {"request_id": "2"}),
        ("X-Request-Id", ((b"A", b"1"),), {}),
        ("", ((b"", b"1"),), {}),
    ],
)
def test_the_id_of_a_request_is_found_in_its_fields(name: str, fields: Fields, expected: dict[str, str]) -> None:
    (route,) = routes({}, server=config.Server(request_id=name))
    assert expected == log_extra(route.id_fields(fields))


def test_an_id_that_was_given_is_told_from_one_that_was_made() -> None:
    assert ("mine", "mine") == (only({"id": "mine"}).id, only({"id": "mine"}).given_id)
    assert ("*/", "") == (only({}).id, only({}).given_id)


def test_what_a_route_leaves_open_is_the_global_setting() -> None:
    settings = (
        config.Route(backends=BACKENDS),
        config.Route(backends=BACKENDS, path="/a", debug=False, max_request_body=5),
        config.Route(backends=BACKENDS, path="/b", max_request_body=0),
    )
    made = Config(routes=settings, debug=True, limits=config.Limits(request_body=7))

    assert [(True, 7), (False, 5), (True, 0)] == [(one.debug, one.max_request_body) for one in Routes(made, RANDOM)]


@pytest.mark.parametrize(
    ("realm", "route", "key", "issuer", "signed_with"),
    [
        (Realm(), {}, RANDOM, "r", "a random key"),
        (Realm(key=(Secret("k"), Secret("old"))), {}, b"k", "r", "realms.r.key"),
        (Realm(key=(Secret("k"),), control_iss="publisher"), {}, b"k", "r", "realms.r.key"),
        (Realm(key=(Secret("k"),), sig_iss="i"), {}, b"k", "i", "realms.r.key"),
        (Realm(key=(Secret("k"),), sig_key=Secret("base64:c2ln")), {}, b"sig", "r", "realms.r.sig_key"),
        (Realm(sig_key=Secret("s"), sig_iss="i"), {"sig_key": Secret("t")}, b"t", "i", "routes[0].sig_key"),
        (Realm(key=(Secret("k"),)), {"sig_iss": "j"}, b"k", "j", "realms.r.key"),
    ],
)
def test_the_signer_is_the_most_specific_that_is_given(
    realm: Realm, route: dict[str, Any], key: bytes, issuer: str, signed_with: str
) -> None:
    found = only({"realm": "r", **route}, {"r": realm})

    assert found.signer is not None
    assert verify([Key.from_bytes(key)], found.signer.token(0), 0, issuer)
    assert signed_with == found.signed_with


def test_routes_of_a_realm_share_their_signer() -> None:
    first, second = routes({}, {"path": "/a"})

    assert first.signer is second.signer


def test_plain_proxying_has_no_signer() -> None:
    assert only({"grip": False}).signer is None


def test_sessions_are_kept_where_instructions_are_acted_on() -> None:
    """Those of the proxy in front are its own."""
    assert [False, True, False] == [
        only(setting).session for setting in ({}, {"session": True}, {"session": True, "grip": False})
    ]
    trusted = only({"session": True, "upstream_key": Secret("a key")}).trusted
    assert trusted is not None
    assert not trusted.session


@pytest.fixture
def public_key() -> Secret:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return Secret(pem.decode())


def test_with_public_keys_alone_a_random_key_signs(public_key: Secret) -> None:
    """Publishers hold the private key; no backend could check a Grip-Sig with the public one anyway."""
    signer = only({"realm": "r"}, {"r": Realm(key=(public_key,))}).signer

    assert signer is not None
    assert verify([Key.from_bytes(RANDOM)], signer.token(0), 0, "r")


@pytest.mark.parametrize("where", ["realms.r.sig_key", "routes[0].sig_key"])
def test_a_public_key_cannot_be_told_to_sign(public_key: Secret, where: str) -> None:
    realm, route = (Realm(sig_key=public_key), {}) if where.startswith("realms") else (Realm(), {"sig_key": public_key})
    with pytest.raises(ConfigError) as caught:
        only({"realm": "r", **route}, {"r": realm})

    assert f"{where}: a public key cannot sign; give the private one" == str(caught.value)


@pytest.mark.parametrize(
    ("realm", "route", "key"),
    [
        (Realm(key=(Secret("base64:!"),)), {}, "realms.r.key"),
        (Realm(sig_key=Secret("base64:!")), {}, "realms.r.sig_key"),
        (Realm(), {"sig_key": Secret("base64:!")}, "routes[0].sig_key"),
        (Realm(), {"upstream_key": Secret("base64:!")}, "routes[0].upstream_key"),
    ],
)
def test_a_bad_key_is_named_with_its_file(realm: Realm, route: dict[str, Any], key: str) -> None:
    made = Config(
        realms={"r": realm}, routes=(config.Route(backends=BACKENDS, realm="r", **route),), source="config.toml"
    )
    with pytest.raises(ConfigError) as caught:
        Routes(made, RANDOM)

    assert f"config.toml: {key}: the key is not valid base64" == str(caught.value)


# --- routes that are read again


def again(earlier: Routes, *settings: Mapping[str, Any], realms: dict[str, Realm] | None = None) -> Routes:
    """The same as ``routes``, behind earlier ones."""
    all_routes = tuple(config.Route(**{"backends": BACKENDS, **one}) for one in settings)
    return Routes(Config(routes=all_routes, realms=realms or {}), RANDOM, earlier)


def test_a_route_that_did_not_change_is_the_very_same() -> None:
    """With its signer, whatever stands before it now."""
    realms = {"r": Realm(key=(Secret("k"),))}
    earlier = routes({"host": "a"}, {"host": "b", "realm": "r", "upstream_key": Secret("u")}, realms=realms)
    later = again(earlier, {"host": "c"}, {"host": "b", "realm": "r", "upstream_key": Secret("u")}, realms=realms)
    assert earlier.match("b", "/") is later.match("b", "/")


@pytest.mark.parametrize(
    "other",
    [
        {"realms": {"r": Realm(key=(Secret("other"),))}},
        {"setting": {"prefix": "p"}},
        {"setting": {"backends": ("http://elsewhere",)}},
    ],
)
def test_a_route_that_changed_is_another_and_follows_the_one_before(other: dict[str, Any]) -> None:
    setting = {"id": "x", "realm": "r"}
    realms = {"r": Realm(key=(Secret("k"),))}
    earlier = routes(setting, realms=realms)
    (before,) = earlier
    later = again(earlier, {**setting, **other.get("setting", {})}, realms=other.get("realms", realms))
    (after,) = later
    assert before != after
    assert (after, before) == (later.current(before), earlier.current(before))


@pytest.mark.parametrize("other", [{"id": "y"}, {"realm": "s"}, {"websocket": "passthrough"}])
def test_a_route_that_nothing_follows_stays_what_it_was(other: dict[str, Any]) -> None:
    """It has no successor of its id, or one with other channels or another way of WebSockets."""
    earlier = routes({"id": "x"})
    (before,) = earlier
    later = again(earlier, {"id": "x", **other}, realms={"s": Realm()})
    assert before is later.current(before)


def test_routes_with_the_same_id_are_followed_by_place() -> None:
    both = [{"id": "x", "host": "a"}, {"id": "x", "host": "b"}]
    earlier = routes(*both)
    later = again(earlier, *({**one, "prefix": "p"} for one in both))
    for host in "ab":
        before = earlier.match(host, "/")
        assert before is not None
        assert later.match(host, "/") is later.current(before)


def test_the_trusted_side_of_a_route_is_followed_by_the_trusted_side() -> None:
    earlier = routes({"id": "x", "upstream_key": Secret("u")})
    (before,) = earlier
    assert before.trusted is not None
    (after,) = later = again(earlier, {"id": "x", "upstream_key": Secret("u"), "prefix": "p"})
    assert after.trusted is later.current(before.trusted)
    assert before.trusted is again(earlier, {"id": "x"}).current(before.trusted)


def test_routes_become_others() -> None:
    """What a host was remembered to lead to counts no more."""
    now = routes({"host": "a"})
    assert (None, 1) == (now.match("b", "/"), len(now))
    now.become(again(now, {"host": "b"}, {"host": "c"}))
    assert (None, 2) == (now.match("a", "/"), len(now))
    assert now.match("b", "/") is not None


def test_a_route_that_was_named_is_followed_by_one_that_is_named() -> None:
    """Its host says nothing."""
    server = Server(accept_pushpin_route=True)

    def made(host: str, earlier: Routes | None = None) -> Routes:
        x = config.Route(id="x", host=host, backends=BACKENDS, upstream_key=Secret("u"))
        return Routes(
            Config(routes=(x, config.Route(id="y", host="", backends=BACKENDS)), server=server), RANDOM, earlier
        )

    earlier = made("a")
    later = made("b", earlier)
    for name in "xy":
        before = earlier.named(name)
        assert before is not None
        assert later.named(name) is later.current(before)
    named = earlier.named("x"), later.named("x")
    assert named[0] is not None
    assert named[0].trusted is not None
    assert named[1] is not None
    assert named[1].trusted is later.current(named[0].trusted)


def test_the_settings_of_a_target_are_those_that_it_has_now() -> None:
    """A hold keeps to the target that began it, for its links above all; one that is gone leaves what it said."""
    own = table(ca="a")
    variant = (before := only({"id": "r", "backends": ("http://a", own)})).at(before.targets[1])
    other = routes({"id": "r", "backends": ("http://c", table(ca="b"))})
    gone = routes({"id": "r", "backends": ("http://a", "http://c")})

    assert ("b", ("http://c", "http://b")) == ((now := other.current(variant)).ca, tuple(map(str, now.targets)))
    assert variant is gone.current(variant)
    assert other.current(variant, is_whole=True) is next(iter(other))
