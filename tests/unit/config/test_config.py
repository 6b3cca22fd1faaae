"""Settings have their defaults, are checked against one another, and are overridden from outside."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import NODEFAULT, Struct
from msgspec.structs import fields

from gripproxy import config
from gripproxy.config import Config, File, Realm, Route, Secret, Server, Zeromq, load, warnings
from gripproxy.config.reader import Reader
from gripproxy.errors import ConfigError

ROOT = Path(__file__).parents[3]
ROUTE = Route(backends=("http://127.0.0.1:8000",))
ONE_ROUTE = '[[routes]]\nbackends = ["http://127.0.0.1:8000"]\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_backend_alone_is_a_configuration() -> None:
    """What ``gripproxy run --backend URL`` runs with: everything else is default."""
    loaded = load(None, {}, {"backend": "http://127.0.0.1:8000"})

    assert Config(routes=(ROUTE,)) == loaded
    assert (("127.0.0.1:7999",), "127.0.0.1:5561") == (loaded.server.listen, loaded.control.listen)
    assert {"default": Realm()} == loaded.realms
    assert ("*", "/", "default", "over-http") == (ROUTE.host, ROUTE.path, ROUTE.realm, ROUTE.websocket)


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "headline.key").write_text("secret\n")
    path = write(
        tmp_path,
        """
        [server]
        listen = ["127.0.0.1:80", "[::1]:80"]
        [realms.headline]
        key = "file:headline.key"
        [[routes]]
        host = "api.headlineapp.org"
        realm = "headline"
        backends = ["http://127.0.0.1:8000"]
        websocket = "passthrough"
        """,
    )

    loaded = load(path)

    assert ("127.0.0.1:80", "[::1]:80") == loaded.server.listen
    assert {"headline": Realm(key=(Secret("secret"),)), "default": Realm()} == loaded.realms
    assert ("api.headlineapp.org", "headline") == (loaded.routes[0].host, loaded.routes[0].realm)
    assert str(path) == loaded.source


def test_the_environment_overrides_the_file_and_the_command_line_both(tmp_path: Path) -> None:
    path = write(tmp_path, '[server]\nlisten = ["a:1"]\n[control]\nlisten = "127.0.0.1:1"\n' + ONE_ROUTE)
    environment = {"GRIPPROXY__SERVER__LISTEN": "b:2", "GRIPPROXY__CONTROL__LISTEN": "127.0.0.1:2"}
    overrides = {"server.listen": "c:3", "control.listen": None}

    loaded = load(path, environment, overrides)

    assert (("c:3",), "127.0.0.1:2") == (loaded.server.listen, loaded.control.listen)


def test_a_mistake_in_the_backend_of_the_command_line_names_the_option(tmp_path: Path) -> None:
    path = write(tmp_path, '[[routes]]\nbackends = "http://a"\n')
    with pytest.raises(ConfigError, match=r"^--backend: must be http\(s\)://host\[:port\], not 'localhost:8000'$"):
        load(path, {}, {"backend": "localhost:8000"})


def test_a_backend_of_the_command_line_replaces_all_routes(tmp_path: Path) -> None:
    path = write(tmp_path, '[realms.a]\nkey = "k"\n[[routes]]\nbackends = "http://a"\nrealm = "a"\n')

    loaded = load(path, {}, {"backend": "http://127.0.0.1:8000"})

    assert (ROUTE,) == loaded.routes
    assert {"a", "default"} == set(loaded.realms)


def test_routes_can_come_from_the_environment_alone() -> None:
    """A container needs no file."""
    environment = {
        "GRIPPROXY__ROUTES__0__BACKENDS": "http://a:1,http://b:2",
        "GRIPPROXY__ROUTES__0__REALM": "headline",
        "GRIPPROXY__ROUTES__1__BACKENDS": "http://c",
        "GRIPPROXY__ROUTES__1__PATH": "/c",
        "GRIPPROXY__REALMS__HEADLINE__KEY": "base64:c2VjcmV0",
    }

    first, second = load(None, environment).routes

    assert (("http://a:1", "http://b:2"), "headline") == (first.backends, first.realm)
    assert (("http://c",), "default") == (second.backends, second.realm)


def test_backends_may_be_tables_in_the_environment_too(tmp_path: Path) -> None:
    """Wherever the file has a URL, and wherever it has a table."""
    list_, text = "['http://a', {url = 'https://b', verify = false}]", "'http://a'"
    a, b = "http://a", config.Backend(url="https://b", verify=False)
    own = config.Backend(url="http://a", subscribe=("x", "y"))
    json_of_b = '{"url": "https://b", "verify": false}'

    def backends(written: str, **variables: str) -> tuple[str | config.Backend, ...]:
        path = write(tmp_path, f"[[routes]]\nbackends = {written}\n")
        named = {f"GRIPPROXY__ROUTES__0__BACKENDS{name}": value for name, value in variables.items()}
        return load(path, named).routes[0].backends

    assert (a, b) == backends(list_)
    assert ("http://c", b) == backends(list_, __0="http://c")
    assert (own, b) == backends(list_, __0__SUBSCRIBE="x,y")
    changed = config.Backend(url="https://c", verify=True)
    assert (a, changed) == backends(list_, __1__URL="https://c", __1__VERIFY="1")
    assert (a, b, "http://c") == backends(list_, __2="http://c")
    assert (a, a, b) == backends(list_, **{"": f'["http://a", "http://a", {json_of_b}]'})
    assert (a, b) == backends(list_, __1=json_of_b)
    assert (own,) == backends(text, __0__SUBSCRIBE='["x", "y"]')


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("BACKENDS", "a", "routes[0].backends[0]: must be http(s)://host[:port], not 'a'"),
        ("BACKENDS__0", "{", "environment: GRIPPROXY__ROUTES__0__BACKENDS__0: is not JSON"),
        ("BACKENDS__2", "http://a", "environment: GRIPPROXY__ROUTES__0__BACKENDS__2: '2' must be an index up to 1"),
        ("BACKENDS__1__VERIFY", "true", "routes[0].backends[1].url: is missing"),
        ("BACKENDS__0__VERIFY", "so", "environment: GRIPPROXY__ROUTES__0__BACKENDS__0__VERIFY: must be true or false"),
        ("BACKENDS__0__NO", "", "environment: GRIPPROXY__ROUTES__0__BACKENDS__0__NO: there is no setting 'no'"),
    ],
)
def test_a_wrong_variable_of_a_backend_is_named(variable: str, value: str, message: str) -> None:
    environment = {"GRIPPROXY__ROUTES__0__BACKENDS": "http://a", f"GRIPPROXY__ROUTES__0__{variable}": value}
    with pytest.raises(ConfigError) as caught:
        load(None, environment)

    assert str(caught.value).startswith(message)


REALM = '[realms.headline]\nkey = "changeme"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "routes: there is none; give [[routes]] with backends, or --backend URL"),
        ("[serve]\n", "serve: there is no such setting; did you mean 'server'?"),
        ("[server]\nlisten = 5\n", "server.listen: must be a list of texts, not 5"),
        ("[server]\nlisten = []\n", "server.listen: needs at least one address"),
        (
            "[server]\nlisten = ['80']\n",
            "server.listen[0]: must be host:port, [ipv6]:port, :port or unix:/path, not '80'",
        ),
        (
            "[server]\ntrusted_proxies = ['a']\n",
            "server.trusted_proxies[0]: must be an IP network like 10.0.0.0/8, not 'a'",
        ),
        ("[server]\ncertificate = 'nowhere.pem'\n", "server.certificate[0]: there is no file"),
        (
            "[server]\ncertificate = ['config.toml', 'config.toml']\ncertificate_key = 'config.toml'\n",
            "server.certificate_key: must be one for each certificate, not 1 for 2",
        ),
        ("[server]\ncertificate = ['config.toml', '']\n", "server.certificate[1]: must be the path of a file"),
        (
            "[server]\ncertificate_key = 'config.toml'\n",
            "server.certificate: is missing, though certificate_key is given",
        ),
        ("[control]\nlisten = 'x'\n", "control.listen: must be host:port, [ipv6]:port, :port or unix:/path, not 'x'"),
        ("[control]\nmax_body = 0\n", "control.max_body: must be a whole number of at least 1, not 0"),
        ("[log]\nlevel = 'loud'\n", "log.level: must be one of debug, info, warning, error, not 'loud'"),
        ("[limits]\nunsent = -1\n", "limits.unsent: must be a whole number of at least 1, not -1"),
        ("[realms.'a b']\n", "realms.a b: must be letters, digits and . _ - ~, not 'a b'"),
        ("[realms.a]\nkey = 'file:nowhere'\n", "realms.a.key[0]: there is no file"),
        ("[[routes]]\nbackends = []\n", "routes[0].backends: needs at least one URL"),
        ("[[routes]]\nbackends = 5\n", "routes[0].backends: must be a list of texts and tables, not 5"),
        ("[[routes]]\nbackends = ['http://a', 5]\n", "routes[0].backends[1]: must be a text or a table, not 5"),
        ("[[routes]]\nbackends = [{verify = true}]\n", "routes[0].backends[0].url: is missing"),
        (
            "[[routes]]\nbackends = ['http://a', {url = 'b'}]\n",
            "routes[0].backends[1].url: must be http(s)://host[:port], not 'b'",
        ),
        (
            "[[routes]]\nbackends = [{url = 'http://a', verfy = true}]\n",
            "routes[0].backends[0].verfy: there is no such setting; did you mean 'verify'?",
        ),
        (
            "[[routes]]\nbackends = [{url = 'http://a', websocket = 'no'}]\n",
            "routes[0].backends[0].websocket: must be one of over-http, passthrough, not 'no'",
        ),
        (
            "[[routes]]\nbackends = [{url = 'http://a', subscribe = ['']}]\n",
            "routes[0].backends[0].subscribe[0]: must be without control characters and not empty, not ''",
        ),
        (
            "[[routes]]\nbackends = [{url = 'http://a', verify_host = 'a:1/'}]\n",
            "routes[0].backends[0].verify_host: must be a host name or an address, without port, not 'a:1/'",
        ),
        (
            "[[routes]]\nbackends = [{url = 'http://a', client_key = 'config.toml'}]\n",
            "routes[0].backends[0].client_cert: is missing, though client_key is given",
        ),
        (
            "[[routes]]\nbackends = [{url = 'http://a', ca = 'nowhere.pem'}]\n",
            "routes[0].backends[0].ca: there is no file",
        ),
        ("[[routes]]\nbackends = 'a:80'\n", "routes[0].backends[0]: must be http(s)://host[:port], not 'a:80'"),
        (
            ONE_ROUTE + "realm = 'headlin'\n[realms.headline]\n",
            "routes[0].realm: there is no realm 'headlin'; did you mean 'headline'?",
        ),
        (ONE_ROUTE + "host = 'a:80'\n", """routes[0].host: must be a host without port, "*.host" or "*", not 'a:80'"""),
        (
            ONE_ROUTE + "path = 'a'\n",
            "routes[0].path: must be a path as in a URL, from its / and without query, not 'a'",
        ),
        (
            ONE_ROUTE + "rewrite = ''\n",
            "routes[0].rewrite: must be a path as in a URL, from its / and without query, not ''",
        ),
        (ONE_ROUTE + 'prefix = "\\n"\n', "routes[0].prefix: "),
        (
            ONE_ROUTE + "headers_remove = ['Host']\n",
            "routes[0].headers_remove[0]: Host is this proxy's to set, see host_header",
        ),
        (ONE_ROUTE + "headers_set = {'a b' = 'x'}\n", "routes[0].headers_set: 'a b' is not a field name"),
        (
            ONE_ROUTE + 'headers_set = {a = "x\\r\\nb: c"}\n',
            "routes[0].headers_set.a: must not hold control characters, nor blanks",
        ),
        (ONE_ROUTE + "link_headers = ['Grip-Sig']\n", "routes[0].link_headers[0]: Grip-Sig is this proxy's to set"),
        (ONE_ROUTE + "link_headers = ['a b']\n", "routes[0].link_headers[0]: 'a b' is not a field name"),
        (ONE_ROUTE + "health_path = 'a'\n", "routes[0].health_path: must be a path as in a URL"),
        (ONE_ROUTE + "health_interval = 0\n", "routes[0].health_interval: must be a number above 0, not 0"),
        (ONE_ROUTE + "cors = ['a']\n", """routes[0].cors[0]: must be "*" or scheme://host[:port], not 'a'"""),
        (ONE_ROUTE + "client_key = 'config.toml'\n", "routes[0].client_cert: is missing, though client_key is given"),
        (
            "[server]\nlisten = ':80'\n[control]\nlisten = '*:80'\n",
            "control.listen: server.listen[0] is '*:80', too",
        ),
        (ONE_ROUTE + ONE_ROUTE, "routes[1].path: routes[0] has the same host and path"),
        (ONE_ROUTE + "protocol = 'ws'\n", "routes[0].protocol: must be one of any, http, websocket, not 'ws'"),
        (ONE_ROUTE + "tls = 'yes'\n", "routes[0].tls: must be true or false, not 'yes'"),
        ("[server]\nrequest_id = 'a b'\n" + ONE_ROUTE, "server.request_id: 'a b' is not a field name"),
        (
            "[server]\norig_headers_need_mark = ['a b']\n" + ONE_ROUTE,
            "server.orig_headers_need_mark[0]: 'a b' is not a field name",
        ),
        (ONE_ROUTE + "host = ''\n", "routes[0].id: is missing; a route without host is reached by its id only"),
        (
            ONE_ROUTE + "host = 'A'\n" + ONE_ROUTE + "host = 'a'\n",
            "routes[1].path: routes[0] has the same host and path",
        ),
        ("[zeromq]\npull = 'a'\n", "zeromq.pull: must be tcp://host:port, tcp://*:port or ipc:///path, not 'a'"),
        ("[zeromq]\nsub = ['a']\n", "zeromq.sub[0]: must be tcp://host:port, tcp://*:port or ipc:///path, not 'a'"),
        (
            ONE_ROUTE + "[zeromq]\nrealm = 'headlin'\n[realms.headline]\n",
            "zeromq.realm: there is no realm 'headlin'; did you mean 'headline'?",
        ),
        (
            REALM + "[control]\nlisten = ':5561'\n",
            "realms.headline.key: 'changeme' is known to everyone, and control.listen",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path)

    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("interval", "is_legal"), [(0, True), (0.1, True), (0.09, False), (-1, False)])
def test_canaries_are_not_as_frequent_as_may_be(interval: float, is_legal: bool, tmp_path: Path) -> None:
    path = write(tmp_path, f"[control]\ncanary_interval = {interval}\n[[routes]]\nbackends = ['http://b:1']\n")
    if is_legal:
        assert interval == load(path).control.canary_interval
    else:
        with pytest.raises(ConfigError, match=r"control\.canary_interval"):
            load(path)


@pytest.mark.parametrize(
    ("realms", "control", "expected"),
    [
        ({}, "127.0.0.1:5561", []),
        (
            {"a": Realm(key=(Secret("k"),))},
            "0.0.0.0:5561",
            ["realms.default.key: none, so only publishes from loopback are taken"],
        ),
        (
            {"default": Realm(key=(Secret("k"),)), "a": Realm()},
            ":5561",
            ["realms.a.key: none, so only publishes from loopback are taken"],
        ),
        ({"default": Realm(key=(Secret("k"),))}, ":5561", []),
        ({"a": Realm()}, "unix:/x", []),
        ({"a": Realm(key=(Secret("changeme"),))}, "[::1]:5561", ["realms.a: the key 'changeme' is known to everyone"]),
        ({"a": Realm(sig_key=Secret("changeme"))}, "[::1]:5561", ["realms.a: the key 'changeme' is known to everyone"]),
    ],
)
def test_what_is_maybe_not_meant_is_warned_of(realms: dict[str, Realm], control: str, expected: list[str]) -> None:
    routes = [Route(backends=("http://a",), path=f"/{name}", realm=name) for name in realms if name != "default"]
    made = Config(realms=realms, control=config.Control(listen=control), routes=(ROUTE, *routes))

    assert expected == warnings(made)


def test_a_realm_without_a_route_is_warned_of() -> None:
    """Mostly a route lacks its realm: applications publish to the one, clients are subscribed in the other."""
    made = Config(realms={"a": Realm(key=(Secret("k"),))}, routes=(ROUTE,))
    assert ["realms.a: no route is of this realm, so nobody can be subscribed in it"] == warnings(made)


def test_the_implicit_realm_is_not_warned_of_while_no_route_uses_it() -> None:
    route = Route(backends=("http://a",), realm="a")
    made = Config(realms={"a": Realm(key=(Secret("k"),))}, control=config.Control(listen=":1"), routes=(route,))

    assert [] == warnings(made)


def test_items_that_no_client_can_take_are_warned_of() -> None:
    text = "control.max_body: an item of more than limits.unsent, 100 bytes, cuts every client it is for"
    routes = (Route(backends=("http://a",), realm="a"),)

    def made(max_body: int, max_item: int = 0) -> list[str]:
        realms = {"a": Realm(max_item=max_item)}
        limits = config.Limits(unsent=100)
        control = config.Control(max_body=max_body)
        return warnings(Config(realms=realms, routes=routes, limits=limits, control=control))

    assert [text] == made(101) == made(101, 101) == made(101, 200)
    assert [] == made(100) == made(100, 200) == made(101, 100)


def test_an_unverified_backend_is_warned_of() -> None:
    routes = (Route(backends=("https://a",), verify=False), Route(backends=("http://a",), path="/a", verify=False))

    assert ["routes[0].verify: the backend's certificate is not verified"] == warnings(Config(routes=routes))
    own = config.Backend(url="https://a", verify=False)
    mixed = (Route(backends=("http://a", own)), Route(backends=("http://a", "https://b"), path="/a"))
    assert ["routes[0].verify: the backend's certificate is not verified"] == warnings(Config(routes=mixed))


def test_routes_that_nobody_reaches_are_warned_of() -> None:
    by_name = Server(accept_pushpin_route=True)
    routes = (Route(backends=("http://a",), tls=True), Route(backends=("http://a",), tls=False))
    tls = "routes[0].tls: no request has TLS without server.certificate or trusted_proxies"
    names = "server.accept_pushpin_route: nobody is believed, as server.trusted_proxies is empty"

    assert [names, tls] == warnings(Config(routes=routes, server=by_name))
    trusting = Server(accept_pushpin_route=True, trusted_proxies=("10.0.0.0/8",))
    assert [] == warnings(Config(routes=routes, server=trusting))
    assert [] == warnings(Config(routes=routes, server=Server(certificate=(File("c.pem"),))))


@pytest.mark.parametrize(
    ("listen", "backend"),
    [
        ("127.0.0.1:7999", "http://127.0.0.1:7999"),
        ("127.0.0.1:7999", "http://localhost:7999"),
        (":80", "http://127.0.0.1"),
        ("[::]:7999", "http://[::1]:7999"),
        ("10.0.0.1:7999", "http://10.0.0.1:7999"),
    ],
)
def test_a_backend_that_is_the_proxy_itself_is_refused(listen: str, backend: str) -> None:
    """Whoever mixes up the ports would see "Too many open files" after the first request."""
    server = Server(listen=("unix:/a", listen))
    routes = (Route(backends=("http://a", backend)),)
    with pytest.raises(ValueError, match=r"^routes\[0\]\.backends\[1\]: '.*' is this proxy itself \(server\.listen\)$"):
        Config(server=server, routes=routes)
    for more in ({"rewrite": "/a"}, {"host_header": "other"}, {"tls": True}, {"protocol": "websocket"}):
        Config(server=server, routes=(Route(backends=("http://a", backend), **more),))  # type: ignore[arg-type]
    Config(server=Server(listen=server.listen, cdn_loop="me"), routes=routes)


@pytest.mark.parametrize("backend", ["http://127.0.0.1:8000", "http://127.0.0.2:7999", "http://proxy:7999"])
def test_a_backend_elsewhere_is_not(backend: str) -> None:
    Config(server=Server(listen=("127.0.0.1:7999", "10.0.0.1:7999")), routes=(Route(backends=(backend,)),))


@pytest.mark.parametrize(
    ("zeromq", "expected"),
    [
        (Zeromq(pull="tcp://127.0.0.1:1", sub=("ipc:///a", "tcp://[::1]:1"), stats="ipc:///b"), []),
        (Zeromq(sub=("tcp://10.0.0.1:1",), sub_connect=True), []),
        (Zeromq(pull="tcp://*:1"), ["zeromq.pull: tcp://*:1 takes items from"]),
        (Zeromq(sub=("tcp://127.0.0.1:1", "tcp://0.0.0.0:1")), ["zeromq.sub: tcp://0.0.0.0:1 takes items from"]),
        (Zeromq(command="tcp://*:1"), ["zeromq.command: tcp://*:1 takes items and commands from"]),
        (Zeromq(stats="tcp://*:1"), ["zeromq.stats: tcp://*:1 tells of clients and channels to"]),
    ],
)
def test_a_socket_that_others_can_reach_is_warned_of(zeromq: Zeromq, expected: list[str]) -> None:
    reason = " whoever can reach it, as ZeroMQ asks for no key"

    assert [text + reason for text in expected] == warnings(Config(routes=(ROUTE,), zeromq=zeromq))


def test_keys_are_not_shown(tmp_path: Path) -> None:
    secrets: dict[str, Any] = {"key": "very-secret", "sig_key": "very-secret"}
    path = write(
        tmp_path,
        ONE_ROUTE
        + 'sig_key = "very-secret"\nupstream_key = "very-secret"\n[realms.a]\n'
        + "".join(f'{k} = "{v}"\n' for k, v in secrets.items()),
    )

    assert "very-secret" not in repr(load(path))
    assert "very-secret" not in str(load(path))


DOCUMENTATION = ROOT / "docs" / "configuration.md"
TABLES: dict[str, tuple[type[Struct], str]] = {
    "[server]": (config.Server, "SERVER__"),
    "[control]": (config.Control, "CONTROL__"),
    "[log]": (config.Log, "LOG__"),
    "[limits]": (config.Limits, "LIMITS__"),
    "[zeromq]": (config.Zeromq, "ZEROMQ__"),
    "[realms.NAME]": (config.Realm, "REALMS__NAME__"),
    "[[routes]]": (config.Route, "ROUTES__0__"),
    "Backends as tables": (config.Backend, "ROUTES__0__BACKENDS__0__"),
}


def written(value: Any) -> str:
    """Write a default as the documentation does."""
    if value is None:
        return "not set"
    if isinstance(value, tuple):
        return f"`[{', '.join(json.dumps(one) for one in value)}]`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{json.dumps(value)}`"


@pytest.mark.parametrize("heading", TABLES)
def test_the_documentation_has_every_setting_with_its_default_and_variable(heading: str) -> None:
    kind, variable = TABLES[heading]
    section = DOCUMENTATION.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    documented = [
        tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in section.splitlines() if "| `" in line
    ]

    expected = []
    for one in fields(kind):
        made = one.default_factory() if one.default_factory is not NODEFAULT else one.default
        default = "required" if one.required else written(made)
        expected.append((f"`{one.name}`", default, f"`GRIPPROXY__{variable}{one.name.upper()}`"))
    assert expected == [cells[:3] for cells in documented]
    assert all(cells[3] for cells in documented)


@pytest.mark.parametrize(
    "block", re.findall(r"```toml\n(.*?)```", DOCUMENTATION.read_text(encoding="utf-8"), re.DOTALL)
)
def test_the_examples_of_the_documentation_load(tmp_path: Path, block: str) -> None:
    assert [] == warnings(load(write(tmp_path, block)))


def test_the_variables_of_the_documentation_load() -> None:
    text = DOCUMENTATION.read_text(encoding="utf-8").partition("## The environment")[2].partition("\n## ")[0]
    for name, value in re.findall(r"^\| `(GRIPPROXY__\w+)=(.+?)` \|", text, re.MULTILINE):
        assert load(None, {"GRIPPROXY__ROUTES__0__BACKENDS": "http://a", name: value.replace("...", "AAAA")})


def test_the_example_is_what_it_says() -> None:
    """It loads, and the settings in it that are commented out have their defaults."""
    path = ROOT / "config.example.toml"
    text = path.read_text(encoding="utf-8")
    everything = re.sub(r"^#(?=\w+ = )", "", text, flags=re.MULTILINE)

    loaded = load(path)
    assert tomllib.loads(everything) != tomllib.loads(text)
    assert Reader(path).struct(Config, tomllib.loads(everything)) == msgspec.structs.replace(loaded, source="")
    assert ["realms.headline: the key 'changeme' is known to everyone"] == warnings(loaded)


@pytest.mark.parametrize(
    ("certificate", "key", "pairs"),
    [
        ("", "", []),
        ("a,b.pem", "", [("a,b.pem", "")]),
        ("a,b.pem", "c.key", [("a,b.pem", "c.key")]),
        ('["a,b.pem", "c.key"]', '["", "c.key"]', [("a,b.pem", ""), ("c.key", "c.key")]),
    ],
)
def test_certificates_come_in_pairs(tmp_path: Path, certificate: str, key: str, pairs: list[tuple[str, str]]) -> None:
    """Also from variables, which hold one path (whatever is in it), none, or a list as JSON."""
    for name in ("a,b.pem", "c.key"):
        (tmp_path / name).write_text("x")
    (tmp_path / "config.toml").write_text('[[routes]]\nbackends = "http://a"\n')
    variables = {"GRIPPROXY__SERVER__CERTIFICATE": certificate, "GRIPPROXY__SERVER__CERTIFICATE_KEY": key}
    server = load(tmp_path / "config.toml", variables).server
    expected = [tuple(str(tmp_path / name) if name else "" for name in pair) for pair in pairs]
    assert expected == list(server.certificate_pairs)
