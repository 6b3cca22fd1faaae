"""Pushpin's routes file becomes routes of ours, and what cannot be said is warned of."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from gripproxy.check import check
from gripproxy.config import load
from gripproxy.errors import ConfigError
from gripproxy.import_routes import import_routes, import_routes_command

A = {"backends": ["http://a:1"], "websocket": "passthrough"}
B = {"backends": ["http://a:1"]}  # over-http is the default


def imported(text: str) -> list[dict[str, Any]]:
    toml, _ = import_routes(text)
    routes: list[dict[str, Any]] = tomllib.loads(toml).get("routes", [])
    return routes


@pytest.mark.parametrize(
    ("line", "route"),
    [
        ("* a:1,over_http", B),
        ("* a:1", A),
        ("*  a:1  ", A),
        ("* a:1\r", A),
        ("* a:1 # comment", A),
        ("* a:1# comment", A),
        ('"*" "a:1"', A),
        ('* "a":"1"', A),
        ("Example.org a:1", {**A, "host": "example.org"}),
        ("* a:1 b:2", {**A, "backends": ["http://a:1", "http://b:2"]}),
        ("* [::1]:1", {**A, "backends": ["http://[::1]:1"]}),
        ("a.b 10.0.0.1:1,ssl", {**A, "host": "a.b", "backends": ["https://10.0.0.1:1"], "verify_host": "a.b"}),
        (
            "a.b a:1,ssl b:2",
            {**A, "host": "a.b", "backends": [{"url": "https://a:1", "verify_host": "a.b"}, "http://b:2"]},
        ),
        ("a.b a:1,ssl,trust_connect_host", {**A, "host": "a.b", "backends": ["https://a:1"]}),
        ("* a:1,ssl,host=c", {**A, "backends": ["https://a:1"], "host_header": "c"}),
        ("*,as_host=c a:1,ssl", {**A, "backends": ["https://a:1"], "host_header": "c"}),
        (
            "*,as_host=c [::1]:1,ssl,trust_connect_host",
            {**A, "backends": ["https://[::1]:1"], "host_header": "c", "verify_host": "::1"},
        ),
        ("* a:1,ssl,trust_connect_host b:2", {**A, "backends": ["https://a:1", "http://b:2"]}),
        ("* a:1,untrusted", {**A, "public_only": True}),
        (
            "* a:1,sub=x,over_http b:2,sub=x,sub=y,over_http,one_event c:3,untrusted,sub=x,host=d,insecure,ssl",
            {
                "backends": [
                    {"url": "http://a:1", "subscribe": ["x"]},
                    {"url": "http://b:2", "one_event": True, "subscribe": ["x", "y"]},
                    {
                        "url": "https://c:3",
                        "host_header": "d",
                        "websocket": "passthrough",
                        "subscribe": ["x"],
                        "verify": False,
                        "public_only": True,
                    },
                ]
            },
        ),
        (
            "*,as_host=c a:1,host=d b:2",
            {**A, "host_header": "c", "backends": [{"url": "http://a:1", "host_header": "d"}, "http://b:2"]},
        ),
        ("* a:1 b:2,over_http", {**A, "backends": ["http://a:1", {"url": "http://b:2", "websocket": "over-http"}]}),
        ("* a:1,over_http b:2", {**B, "backends": ["http://a:1", {"url": "http://b:2", "websocket": "passthrough"}]}),
        ("* a:1,ssl,insecure", {**A, "backends": ["https://a:1"], "verify": False}),
        ("* a:1,host=b:2", {**A, "host_header": "b:2"}),
        ("* a:1,sub=x,sub=y,over_http,one_event", {**B, "subscribe": ["x", "y"], "one_event": True}),
        ("*,id=x a:1", {**A, "id": "x"}),
        ("*,debug a:1", {**A, "debug": True}),
        ("*,no_grip a:1", {**A, "grip": False}),
        ("*,prefix=x- a:1", {**A, "prefix": "x-"}),
        ('*,prefix="x y," a:1', {**A, "prefix": "x y,"}),
        ('*,prefix="x\\"\\\\y#" a:1', {**A, "prefix": 'x"\\y#'}),
        ('*,"prefix=x=y" a:1', {**A, "prefix": "x=y"}),
        ("*,sig_iss=i,sig_key=base64:c2Vj a:1", {**A, "sig_iss": "i", "sig_key": "base64:c2Vj"}),
        ("*,as_host=b.c a:1", {**A, "host_header": "b.c"}),
        ("*,path_beg=/a/ a:1", {**A, "path": "/a/"}),
        ("*,path_beg=/a a:1", {**A, "path": "/a*"}),
        ("*,path_beg=/a* a:1", {**A, "path": "/a**"}),
        ("*,path_beg=/a,path_rem=2 a:1", {**A, "path": "/a*", "rewrite": "/"}),
        ("*,path_beg=/a,path_rem=0 a:1", {**A, "path": "/a*", "rewrite": "/a"}),
        ("*,path_beg=/api-v1,path_rem=4 a:1", {**A, "path": "/api-v1*", "rewrite": "/-v1"}),
        ("*,path_beg=/ab/,path_rem=2 a:1", {**A, "path": "/ab/", "rewrite": "/b/"}),
        ("*,path_beg=/a,replace_beg=/b a:1", {**A, "path": "/a*", "rewrite": "/b"}),
        ("*,path_beg=/a/,replace_beg=/b a:1", {**A, "path": "/a/*", "rewrite": "/b"}),
        ("*,path_beg=/a,replace_beg= a:1", {**A, "path": "/a*", "rewrite": "/"}),
        ("*,replace_beg=/b a:1", {**A, "rewrite": "/b"}),
        ("*,proto=http a:1", {**A, "protocol": "http"}),
        ("*,proto=ws a:1,over_http", {**B, "protocol": "websocket"}),
        ("*,ssl=yes a:1", {**A, "tls": True}),
        ("*,ssl=no,proto=ws a:1", {**A, "tls": False, "protocol": "websocket"}),
        ("*,orig_headers a:1", {**A, "orig_headers": True}),
        ("*,path_beg=/a/,path_rem=2 a:1", {**A, "path": "/a/", "rewrite": "/"}),
        ("*,path_beg=/a/,path_rem=3 a:1", {**A, "path": "/a/", "rewrite": "/"}),
        ("*,path_beg=/a/b/,path_rem=2 a:1", {**A, "path": "/a/b/", "rewrite": "/b/"}),
        ("*,path_beg=/a/,replace_beg=/b/ a:1", {**A, "path": "/a/", "rewrite": "/b/"}),
        ("*,session a:1", {**A, "session": True}),
        ("*,header=A:b,header=C: a:1", {**A, "headers_set": {"A": "b"}, "headers_remove": ["C"]}),
        ('*,header="A: b c" a:1', {**A, "headers_set": {"A": "b c"}}),
    ],
)
def test_a_line_becomes_a_route_without_warning(line: str, route: dict[str, Any]) -> None:
    assert [route] == imported(line)
    assert [] == import_routes(line)[1]


@pytest.mark.parametrize(
    ("line", "route", "warning"),
    [
        (
            "*,aco a:1",
            {**A, "cors": ["*"]},
            "aco: pages of every origin may read without credentials; list in cors those that may with them",
        ),
        (
            "id=x a:1",
            {**A, "host": "", "id": "x"},
            "reached by Pushpin-Route of server.trusted_proxies only: list who may choose routes there",
        ),
        ("*,jsonp_cb=x,jsonp_mode=basic a:1", A, "JSON-P has no equivalent"),
        ("*,sockjs=/s a:1", A, "SockJS has no equivalent"),
        ("*,log_level=1 a:1", A, "log_level has no equivalent for one route; see [log]"),
        ("*,nonsense a:1", A, "nonsense is not known"),
        (
            "* a:1,ssl b:1,ssl,insecure",
            {**A, "backends": ["https://a:1", {"url": "https://b:1", "verify": False}]},
            "ssl: the certificate has to be one of a, no more of the host that a client asks for",
        ),
        (
            "* a:1,ipc_file_mode=777 b:1,ipc_file_mode=777",
            {**A, "backends": ["http://a:1", "http://b:1"]},
            "ipc_file_mode has no equivalent",
        ),
        ("* a:1,nonsense=1", A, "nonsense is not known"),
        ("* test a:1", A, "target test left out: only HTTP targets have an equivalent"),
        ("* zhttp/tcp://x:1,over_http a:1", A, "target zhttp/tcp://x:1 left out: only HTTP targets have an equivalent"),
        (
            "*,sig_key=file:k a:1",
            {**A, "sig_key": "file:k"},
            "a key file that is not PEM holds hexadecimal digits for Pushpin; write hex: before them",
        ),
        (
            "* a:1,client_cert=c",
            {**A, "client_cert": "c"},
            "client_cert: a relative path starts from the configuration file now",
        ),
    ],
)
def test_what_has_no_equivalent_is_warned_of(line: str, route: dict[str, Any], warning: str) -> None:
    toml, warnings = import_routes("# first line\n" + line)

    assert [route] == tomllib.loads(toml)["routes"]
    assert [f"line 2: {warning}"] == warnings


@pytest.mark.parametrize(
    ("targets", "backends"),
    [
        ("a:1,client_cert=c b:2,client_cert=c", ["http://a:1", "http://b:2"]),
        (
            "a:1,client_cert=c b:2,client_cert=c,client_key=k",
            [{"url": "http://a:1", "client_cert": "c"}, {"url": "http://b:2", "client_cert": "c", "client_key": "k"}],
        ),
        (
            "a:1,client_cert=d,client_key=k b:2,client_cert=c,client_key=k",
            [
                {"url": "http://a:1", "client_cert": "d", "client_key": "k"},
                {"url": "http://b:2", "client_cert": "c", "client_key": "k"},
            ],
        ),
    ],
)
def test_a_certificate_and_its_key_stay_together(targets: str, backends: list[Any]) -> None:
    assert [backends] == [route["backends"] for route in imported(f"* {targets}")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("*", "there is no target"),
        ("* test", "there is no HTTP target"),
        ("* a", "target 'a' has no port"),
        ("* [::1]", "target '[::1]' has no port"),
        ("* a:x", "target 'a:x' has no port"),
        ("* a:99999", "backends[0]: must be http(s)://host[:port], not 'http://a:99999'"),
        ("*, a:1", "a property has no name"),
        ("*,=x a:1", "a property has no name"),
        ("* a:1,", "a property has no name"),
        ('* "a:1', "a quote is not closed"),
        ("*\ta:1", "there is no target"),  # sections are separated by spaces, not tabs
        ("a:80 a:1", """host: must be a host without port, "*.host" or "*", not 'a:80'"""),
        ("*,proto=ftp a:1", "proto must be http or ws, not 'ftp'"),
        ("*,path_beg=a/ a:1", "path: must be a path as in a URL, from its / and without query, not 'a/'"),
        ("*,path_beg=/a/,path_rem=9 a:1", "path_rem=9 takes more than path_beg, which has no equivalent"),
        ("*,path_rem=1 a:1", "path_rem=1 takes more than path_beg, which has no equivalent"),
        ("*,path_beg= a:1", "path_beg is empty"),
        (
            "*,path_beg=/a,replace_beg=b a:1",
            "rewrite: must be a path as in a URL, from its / and without query, not 'b'",
        ),
        ("*,ssl=1 a:1", "ssl must be yes or no, not '1'"),
        ("*,header=A a:1", "header must be NAME:VALUE, not 'A'"),
        (",path_beg=/a a:1", "a route without host needs an id"),
        ("*,path_rem=x a:1", "path_rem must be a number, not 'x'"),
        ("*,header=Host:b a:1", "headers_set: Host is this proxy's to set, see host_header"),
        ("*,sig_key=base64:!!! a:1", "sig_key: the key is not valid base64"),
        ("* a:1,client_key=k", "client_cert: is missing, though client_key is given"),
        ("* a:1,sub=", "subscribe[0]: must be without control characters and not empty, not ''"),
        ("* a:1 b:1,sub=", "subscribe[0]: must be without control characters and not empty, not ''"),
        ("* a:1 10.0.0.1:1,untrusted", "backends[1]: 10.0.0.1 is not public, which public_only asks for"),
    ],
)
def test_a_line_that_cannot_be_taken_over_is_left_out(line: str, reason: str) -> None:
    toml, warnings = import_routes(f"{line}\n*,id=good a:1\n")

    assert ["good"] == [route["id"] for route in tomllib.loads(toml)["routes"]]
    assert [f"line 1: left out: {reason}"] == warnings


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment", "  # only a comment\r\n"])
def test_nothing_becomes_nothing(text: str) -> None:
    assert ("", []) == import_routes(text)


def test_the_same_condition_twice_is_left_out() -> None:
    toml, warnings = import_routes("* a:1\n*,ssl=yes b:2\n*,id=x c:3\n*,ssl=yes,path_beg=/ d:4\n*,proto=ws e:5")

    assert ["http://a:1", "http://b:2", "http://e:5"] == [one["backends"][0] for one in tomllib.loads(toml)["routes"]]
    assert [f"line {number}: left out: an earlier line has the same condition" for number in (3, 4)] == warnings


def test_routes_without_host_turn_on_what_they_need(tmp_path: Path) -> None:
    toml, _ = import_routes("* a:1\n,id=x b:2\n,id=y c:3")
    (tmp_path / "config.toml").write_text(toml)

    config = load(tmp_path / "config.toml")
    assert config.server.accept_pushpin_route
    assert [("*", ""), ("", "x"), ("", "y")] == [(route.host, route.id) for route in config.routes]


def test_an_id_names_one_route_where_requests_may_name_them(tmp_path: Path) -> None:
    toml, warnings = import_routes("a,id=x a:1\nb,id=x b:2\n,id=y c:3\n,id=y d:4")
    (tmp_path / "config.toml").write_text(toml)

    assert ["x", "", "y"] == [route.id for route in load(tmp_path / "config.toml").routes]
    assert [
        "line 2: the id is left out: line 1 has 'x', too",
        "line 4: left out: line 3 has the id 'y', too",
    ] == warnings[2:]


def test_an_id_of_two_routes_is_warned_of() -> None:
    toml, warnings = import_routes("a,id=x a:1\nb,id=x b:2")

    assert ["x", "x"] == [route["id"] for route in tomllib.loads(toml)["routes"]]
    assert ["line 2: line 1 has the id 'x', too; metrics and logs take them for one"] == warnings


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("* a:1\nb,path_beg=/x a:1\nb,path_beg=/y a:1\nc a:1\nd,proto=ws a:1\n", [2, 5]),
        ("* a:1\nb,proto=ws a:1\nb,proto=http,ssl=yes a:1\nb,proto=http,ssl=no a:1", []),
        ("* a:1\nb,proto=ws a:1\nb,proto=http,ssl=yes a:1", [2]),
        ("*,path_beg=/z a:1\nb,path_beg=/x a:1", [2]),
        ("b,path_beg=/x a:1\nc a:1", []),
    ],
)
def test_hosts_that_fall_back_here_are_warned_of(text: str, lines: list[int]) -> None:
    """Pushpin says 502 for what no route of a host takes, which may be what kept strangers out."""
    host = "bd"
    expected = [
        f"line {number}: what no route of {host[index]} takes goes to those of * here; Pushpin answered 502"
        for index, number in enumerate(lines)
    ]
    assert expected == import_routes(text)[1]


LINES = st.lists(
    st.one_of(
        st.text(),
        st.tuples(
            st.sampled_from(
                [
                    "*",
                    "a",
                    '"*"',
                    "*,path_beg=/a",
                    "a,header=",
                    ",id=",
                    "*,ssl=no,id=",
                    "*,proto=ws,path_rem=",
                    "*,prefix=",
                    "b,id=",
                    "c,sig_key=",
                    "d,as_host=",
                ]
            ),
            st.text(max_size=8),
            st.sampled_from([" a:1", " a:1,ssl b:2,untrusted", " [::1]:1,over_http", " a:1,sub=x b:1,host="]),
            st.text(max_size=4),
        ).map("".join),
    ),
    max_size=5,
).map("\n".join)


@given(LINES)
def test_any_text_becomes_a_configuration_that_loads(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    toml, _ = import_routes(text)
    if not toml:
        return
    path = tmp_path_factory.getbasetemp() / "imported.toml"
    path.write_text(toml, encoding="utf-8", newline="\n")
    try:
        load(path)
    except ConfigError as error:
        assert "there is no file" in str(error)  # noqa: PT017


def test_the_file_of_a_pushpin_installation_loads(tmp_path: Path) -> None:
    toml, warnings = import_routes(
        """
# the default route
* localhost:8000,over_http

api.example.com,path_beg=/v1/,sig_iss=realm,sig_key=base64:c2VjcmV0  10.0.0.1:80,over_http 10.0.0.2:80,over_http
api.example.com 10.0.0.3:80
"""
    )
    path = tmp_path / "config.toml"
    path.write_text(toml)

    assert [] == warnings
    first, second, _ = load(path).routes
    assert ("*", ("http://localhost:8000",)) == (first.host, first.backends)
    assert ("api.example.com", "/v1/", "realm") == (second.host, second.path, second.sig_iss)


def test_the_command_prints_routes_that_check_takes(tmp_path: Path) -> None:
    routes, made = tmp_path / "routes", tmp_path / "config.toml"
    routes.write_text("* localhost:8000,over_http\n*,path_beg=/a/,jsonp_mode=basic b:1\nx\n")

    result = CliRunner().invoke(import_routes_command, [str(routes)])
    made.write_text(result.stdout)

    assert 0 == result.exit_code
    assert [
        f"{routes}: line 3: left out: there is no target",
        f"{routes}: line 2: JSON-P has no equivalent",
    ] == sorted(result.stderr.splitlines(), reverse=True)
    assert ["route */", "route */a/"] == [line for line in check(made) if line.startswith("route ")]


def test_the_command_reads_standard_input() -> None:
    result = CliRunner().invoke(import_routes_command, ["-"], input="* a:1,over_http\n")

    assert (0, '[[routes]]\nbackends = ["http://a:1"]\n', "") == (result.exit_code, result.stdout, result.stderr)


@pytest.mark.parametrize(
    ("content", "code", "problem"),
    [
        (None, 2, "No such file"),
        (b"* \xff:1", 1, "is not UTF-8"),
        (b"# a comment\n[global]\ninclude={libdir}/internal.conf\n", 1, "[global] is no route; "),
        (b'[[routes]]\nbackends = ["http://a"]\n', 1, "[[routes]] is no route; "),
    ],
)
def test_the_command_says_what_it_cannot_read(tmp_path: Path, content: bytes | None, code: int, problem: str) -> None:
    routes = tmp_path / "routes"
    if content is not None:
        routes.write_bytes(content)
    result = CliRunner().invoke(import_routes_command, [str(routes)])

    assert (code, "") == (result.exit_code, result.stdout)
    assert problem in result.stderr
    assert "Traceback" not in result.stderr
