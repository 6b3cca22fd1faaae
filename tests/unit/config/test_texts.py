"""Every small grammar takes what it names and says what it must be otherwise."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gripproxy.config import texts
from gripproxy.config.texts import Address, parse_address, parse_backend, parse_endpoint


@pytest.mark.parametrize(
    ("text", "address", "written", "is_loopback"),
    [
        ("127.0.0.1:7999", Address("127.0.0.1", 7999), "127.0.0.1:7999", True),
        ("127.8.0.1:0", Address("127.8.0.1", 0), "127.8.0.1:0", True),
        ("[::1]:80", Address("::1", 80), "[::1]:80", True),
        ("localhost:80", Address("localhost", 80), "localhost:80", True),
        ("unix:/run/x.sock", Address("", 0, "/run/x.sock"), "unix:/run/x.sock", True),
        (":80", Address("", 80), ":80", False),
        ("*:80", Address("", 80), ":80", False),
        ("0.0.0.0:80", Address("0.0.0.0", 80), "0.0.0.0:80", False),
        ("[::]:65535", Address("::", 65535), "[::]:65535", False),
        ("proxy-1.example.org:80", Address("proxy-1.example.org", 80), "proxy-1.example.org:80", False),
    ],
)
def test_an_address_is_read_and_written(text: str, address: Address, written: str, is_loopback: bool) -> None:
    assert address == parse_address(text)
    assert (written, is_loopback) == (str(address), address.is_loopback)


@pytest.mark.parametrize(
    "text", ["", "80", "a", "a:", "a:b", "::1:80", "[::1]", "[:::]:80", "a:65536", "a b:80", "unix:"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be host:port"):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "address", "is_loopback"),
    [
        ("tcp://127.0.0.1:5560", Address("127.0.0.1", 5560), True),
        ("tcp://[::1]:5560", Address("::1", 5560), True),
        ("tcp://*:5560", Address("", 5560), False),
        ("tcp://10.0.0.1:5560", Address("10.0.0.1", 5560), False),
        ("ipc:///run/gripproxy/pull", Address("", 0, "/run/gripproxy/pull"), True),
    ],
)
def test_an_endpoint_is_read(text: str, address: Address, is_loopback: bool) -> None:
    assert (address, is_loopback) == (parse_endpoint(text), address.is_loopback)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:5560",
        "tcp://",
        "tcp://a",
        "tcp://:1",
        "tcp://a:0",
        "tcp://a:65536",
        "tcp://unix:/x",
        "tcp://[1]:1",
        "inproc://a",
        "ipc://a",
        "ipc:///a b",
        "TCP://a:1",
    ],
)
def test_what_is_no_endpoint_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be tcp://host:port"):
        parse_endpoint(text)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://127.0.0.1:8000", ("http", "127.0.0.1", 8000)),
        ("http://app", ("http", "app", 80)),
        ("https://App.Example.org/", ("https", "app.example.org", 443)),
        ("http://[::1]:8000", ("http", "::1", 8000)),
        ("HTTP://my_app:1", ("http", "my_app", 1)),
    ],
)
def test_a_backend_is_scheme_host_and_port(url: str, target: tuple[str, str, int]) -> None:
    assert target == parse_backend(url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "must be http"),
        ("127.0.0.1:8000", "must be http"),
        ("ws://a", "must be http"),
        ("http://", "must be http"),
        ("http://a:0", "must be http"),
        ("http://a:", "must be http"),
        ("http://a:99999", "must be http"),
        ("http://a:b", "must be http"),
        ("http://[::1", "must be http"),
        ("http://a\n.b", "must be http"),
        ("http://ä", "must be http"),
        ("http://a b", "must be http"),
        ("http://user:password@a", "user name"),
        ("http://a/path", "rewrite"),
        ("http://a?", "rewrite"),
        ("http://a#x", "rewrite"),
    ],
)
def test_what_is_no_backend_is_refused(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_backend(url)


@pytest.mark.parametrize(
    "url", ["http://u:password@a/path", "ws://u:password@a", "http://u:password@a:b", "u:password@a://"]
)
def test_a_password_in_a_url_is_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match="must") as caught:
        parse_backend(url)

    assert "password@" not in str(caught.value)


@given(st.text())
def test_any_text_is_a_backend_or_refused(text: str) -> None:
    for prefix in ("", "http://", "https://["):
        try:
            scheme, host, port = parse_backend(prefix + text)
        except ValueError:
            continue
        assert scheme in ("http", "https")
        assert host
        assert 0 < port < 65536


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    for ending in ("", ":80"):
        try:
            parse_address(text + ending)
        except ValueError:
            continue


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (texts.network, ["10.0.0.0/8", "127.0.0.1", "::1/128", "10.1.2.3/8"], ["", "a", "10.0.0.0/33", "localhost"]),
        (
            texts.field_name,
            ["X-A", "grip-thing"],
            ["", "a b", "a:", "ä", "Host", "content-length", "Transfer-Encoding", "CDN-Loop"],
        ),
        (
            texts.bus,
            [
                "local:",
                "local",
                "redis://h",
                "rediss://u:p@h:1/0",
                "redis://[::1]:6379",
                "rediss://h:1/2?ssl_ca_certs=/a.pem",
            ],
            [
                "",
                "redis",
                "redis://",
                "redis://:0",
                "redis://h:x",
                "redis://h/a",
                "nats://h",
                "redis://h h",
                "unix:///x",
                "redis://h:1/2?x=y",
                "redis://h?ssl_ca_certs=/a.pem",
                "rediss://h?protocol=3",
                "rediss://h?ssl_ca_certs=/a.pem&db=1",
                "rediss://h?ssl",
                "redis://:p#ss@h",
            ],
        ),
        (texts.any_field_name, ["X-A", "Host"], ["", "a b", "a:", "ä"]),
        (
            texts.request_id,
            ["", "X-Request-Id", "traceparent"],
            ["a b", "Host", "X-Forwarded-For", "x_forwarded_id", "Grip-Sig", "Forwarded", "Pushpin-Route"],
        ),
        (texts.cdn_id, ["", "a", "a.test:80", "[::1]", "id*|~"], ["a b", "a;b", "a,b", "ä", "a\n", '"a"']),
        (texts.field_value, ["", "a", "a b", "a\tb", "ä"], ["\n", " a", "a ", "a\r\nb: c", "a\x00b", "a\x7fb"]),
        (
            texts.host_pattern,
            ["", "*", "*.a.b", "a.B", "[::1]", "my_host"],
            ["a:80", "a*", "*a", "*.", "a/b", "ä", ".", "a.", "*.a."],
        ),
        (texts.host_field, ["a", "a:80", "[::1]:80"], ["", "*", "a:", "a:b", "a b", "a\n"]),
        (texts.path, ["/", "/a", "/a/", "/a%20b;x=~"], ["", "a", "/a?b", "/a#", "/a b", "/ä", "/\n"]),
        (
            texts.origin,
            ["*", "https://a", "http://a:80", "http://[::1]:80"],
            ["", "a", "https://a/", "https://", "null"],
        ),
        (texts.channel, ["a", "a b", "ä,;"], ["", "a\nb", "\x00"]),
        (texts.channel_prefix, ["", "a-"], ["a\n"]),
        (texts.word, ["", "a", "a/b"], ["a b", "\n"]),
        (texts.realm_name, ["a", "a-b_c.d~e"], ["", "a/b", "a b", "ä"]),
    ],
)
def test_a_text_is_taken_or_refused(check: Callable[[str], object], good: list[str], bad: list[str]) -> None:
    for text in good:
        check(text)
    for text in bad:
        with pytest.raises(ValueError, match=r"must|is not|proxy's|something else"):
            check(text)
