"""The proxies under test: started with files and ports of their own, or given by their addresses.

Both have the same routes, `ROUTES`: Pushpin reads them, and gripproxy what its import-routes makes of them. Every host
goes to the suite's backend with WebSockets over HTTP, but for those that are there to have something of their own, such
as `PASSTHROUGH_HOST`. Grip-Sig is signed with `SIG_KEY` for the issuer `SIG_ISS`.

A proxy "behind" another one believes what the suite, in the place of that one, says of the client.
"""

import base64
import os
import pathlib
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.conformance.backend import DEADLINE, Backend, Reply
from tests.conformance.client import HOST, Connection, fetch
from tests.integration.certificates import make_authority
from tests.ports import free_port

PASSTHROUGH_HOST = "passthrough.test"
SIG_ISS = "conformance"
SIG_KEY = "a key that is long enough for HS256 to be content"
CHANNELS_MAX = 20  # channels of one connection: Pushpin's default
STATS_TTL = 4  # seconds for which a statistic is believed
START_SECONDS = 20.0
OTHER_ISS = "other"
OTHER_KEY = "another key that is long enough for HS256 to be content".replace(" ", "-")
PAGE = "http://page.test"  # the origin whose pages may read what cors.test answers, where a proxy has a list of them
UPSTREAM_KEY = "a key of the proxy in front that is long enough for HS256"
BYTES_KEY = bytes(range(100, 164))
ES256_FILE = "es256.pem"  # beside the configuration
ROUTES = f"""\
* {{target}},over_http
{PASSTHROUGH_HOST} {{target}}
prefix.test,prefix=pre- {{target}},over_http
strip.test,path_beg=/old/,path_rem=4 {{target}}
replace.test,path_beg=/old,replace_beg=/new {{target}}
implicit.test {{target}},over_http,sub=implicit
plain.test,no_grip {{target}}
header.test,header=X-Set:new,header=X-Gone: {{target}}
signed.test,sig_iss={OTHER_ISS},sig_key={OTHER_KEY} {{target}}
base64.test,sig_iss={OTHER_ISS},sig_key=base64:{base64.b64encode(BYTES_KEY).decode()} {{target}}
keyed.test,sig_key={OTHER_KEY} {{target}}
es256.test,sig_iss={OTHER_ISS},sig_key=file:{ES256_FILE} {{target}}
quoted.test,header="X-Quoted:a, \\"b\\"" {{target}}  # and a comment
host.test {{target}},host=backend.test
cors.test,aco {{target}}
debug.test,debug {{target}}
failover.test {{nobody}},over_http {{target}},over_http
only.test,path_beg=/only {{target}}
session.test,session {{target}},over_http
other-session.test,session {{target}}
prefix-session.test,session,prefix=pre- {{target}}
raw.test,path_beg=/raw,header=X-Route:raw {{target}}
raw.test,path_beg=/raw/deep,header=X-Route:deep {{target}}
rawreplace.test,path_beg=/old,replace_beg=/new {{target}}
mid.test,path_beg=/api-v1,path_rem=4 {{target}}
proto.test,proto=http,header=X-Route:http {{target}}
proto.test,proto=ws,header=X-Route:ws {{target}},over_http
proto.test,path_beg=/longer,header=X-Route:any {{target}},over_http
onlyws.test,proto=ws,header=X-Route:ws {{target}},over_http
tls.test,ssl=yes,header=X-Route:yes {{target}}
tls.test,ssl=no,header=X-Route:no {{target}}
tls.test,path_beg=/longer,header=X-Route:any {{target}}
,id=named,header=X-Route:named {{target}}
marked.test,orig_headers,header=X-Set:new {{target}}
as.test,as_host=as.other {{target}}
as.test,path_beg=/target,as_host=as.other {{target}},host=target.other
counted.test,id=counted {{target}},over_http
second.test {{nobody}},over_http,sub=first,host=first.test {{target}},over_http,sub=second,host=second-target.test
socket-second.test {{nobody}},over_http {{target}}
events-second.test {{nobody}} {{target}},over_http
refused.test {{local}},untrusted
"""
CDN_ID = "conformance.test"
BEHIND_PUSHPIN = {
    "accept_x_forwarded_protocol": "true",
    "x_forwarded_for": "append",
    "accept_pushpin_route": "true",
    "orig_headers_need_mark": "X-Need-Mark",
}
BEHIND_GRIPPROXY = f"""
trusted_proxies = ["127.0.0.1"]
orig_headers_need_mark = ["X-Need-Mark"]
cdn_loop = "{CDN_ID}"
"""
SPARES = 8  # hosts, each with a port of its own where no backend is until a case starts one
Address = tuple[str, int]
OTHERS = threading.Semaphore(2)  # proxies beside the one of all cases: the start of ten would disturb every timer


@dataclass(slots=True)
class Proxy:
    """A proxy that runs; `sig_key` is None where the suite does not know it."""

    name: str
    client: Address
    control: Address
    sig_iss: str | None = SIG_ISS
    sig_key: str | None = SIG_KEY
    upstream_key: str | None = UPSTREAM_KEY
    passthrough_host: str | None = PASSTHROUGH_HOST
    pull: str | None = None  # ZeroMQ's addresses: to push items to,
    sub: str | None = None  # where publishers learn of subscriptions,
    command: str | None = None  # to ask at,
    stats: str | None = None  # and to be told at
    metrics: Address | None = None  # where a scraper asks for /metrics
    tls: ssl.SSLContext | None = None  # for clients
    es256: str | None = None  # public half of the key in `ES256_FILE`, as PEM
    has_routes: bool = False
    spares: list[tuple[str, int]] = field(default_factory=list)  # hosts and ports that no case has taken yet
    folder: pathlib.Path | None = None
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def spawn(self, *command: str) -> None:
        assert self.folder
        with (self.folder / f"{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        self.processes.append(process)

    def terminate(self) -> "subprocess.Popen[bytes]":
        """Tells the proxy itself to end, as whoever runs it would, and returns its process."""
        self.processes[-1].terminate()
        return self.processes[-1]

    def connect(self, deadline: float = DEADLINE) -> Connection:
        """A client's connection."""
        return Connection(*self.client, deadline, self.tls)

    def logs(self) -> str:
        if not self.folder:
            return ""
        return "\n".join(log.read_text(errors="replace")[-4000:] for log in sorted(self.folder.glob("*.log")))

    def stop(self) -> None:
        for process in reversed(self.processes):
            for number in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(process.pid, number)
                    process.wait(5)
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    continue
                break
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)


def made(name: str, folder: pathlib.Path) -> Proxy:
    """A proxy with ports and a folder of its own, still to be started."""
    client, control = (("127.0.0.1", free_port()) for _ in range(2))
    proxy = Proxy(name, client, control, has_routes=True, folder=folder)
    proxy.pull, proxy.sub = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
    proxy.command, proxy.stats = f"ipc://{folder}/command", f"ipc://{folder}/stats"
    proxy.spares = [(f"spare-{number}.test", free_port()) for number in range(SPARES)]
    return proxy


def write_key(proxy: Proxy, folder: pathlib.Path) -> None:
    """Makes `ES256_FILE` in the folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / ES256_FILE).write_bytes(private)
    proxy.es256 = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def write_certificate(proxy: Proxy, folder: pathlib.Path) -> str:
    """Makes a certificate for `HOST`, which the proxy's clients trust, and returns the file with it and its key."""
    authority = make_authority(folder)
    proxy.tls = ssl.create_default_context(cafile=authority.file)
    return authority.sign("server", HOST)


def routes_to(port: int, spares: Sequence[tuple[str, int]]) -> str:
    """`ROUTES`, in Pushpin's words, to the backend on the port, and those of the spare ones."""
    places = {"target": f"127.0.0.1:{port}", "nobody": f"127.0.0.1:{free_port()}", "local": f"localhost:{port}"}
    routes = ROUTES.format_map(places)
    return routes + "".join(f"{host} 127.0.0.1:{port},over_http\n" for host, port in spares)


def pushpin(backend_port: int, *, is_behind: bool = False, clients: int = 50_000, tls: bool = False) -> Proxy:
    """Debian's Pushpin with zurl, as a private instance for so many clients."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pushpin-"))
    proxy = made("pushpin", folder)
    proxy.metrics = ("127.0.0.1", free_port())
    shutil.copytree("/etc/pushpin", folder / "etc")
    settings = {
        "rundir": str(folder),
        "logdir": str(folder),
        "http_port": str(proxy.client[1]),
        "client_maxconn": str(clients),
        "push_in_http_port": f"{proxy.control[1]}\nprometheus_port={proxy.metrics[1]}",
        "push_in_spec": str(proxy.pull),
        "push_in_sub_specs": str(proxy.sub),
        "command_spec": str(proxy.command),
        "stats_spec": str(proxy.stats),
        "stats_connection_ttl": str(STATS_TTL),
        "stats_subscription_ttl": str(STATS_TTL),
        "stats_report_interval": "1",
        "include": str(folder / "internal.conf"),
        "sig_iss": SIG_ISS,
        "sig_key": SIG_KEY,
        "upstream_key": UPSTREAM_KEY,
        **(BEHIND_PUSHPIN if is_behind else {}),
    }
    if tls:
        certificate = folder / "etc/runner/certs" / f"default_{proxy.client[1]}.crt"
        certificate.parent.mkdir(parents=True, exist_ok=True)
        for file in (certificate, certificate.with_suffix(".key")):
            shutil.copy(write_certificate(proxy, folder) if file == certificate else certificate, file)
        settings |= {"http_port": str(free_port()), "#https_ports": str(proxy.client[1])}
    write_key(proxy, folder / "etc")
    lines = (folder / "etc/pushpin.conf").read_text().split("\n")
    named = [(line.partition("=")[0], line) for line in lines]
    text = "\n".join(f"{name.strip('#')}={settings[name]}" if name in settings else line for name, line in named)
    text = text.replace("[handler]", f"[handler]\nstate_spec=ipc://{folder}/state")
    (folder / "etc/pushpin.conf").write_text(text)
    (folder / "etc/routes").write_text(routes_to(backend_port, proxy.spares))
    for name, source in (("internal.conf", "/usr/lib/pushpin/internal.conf"), ("zurl.conf", "/etc/zurl.conf")):
        (folder / name).write_text(pathlib.Path(source).read_text().replace("/var/run/zurl", str(folder)))
    proxy.spawn(sys.executable, str(pathlib.Path(__file__).with_name("state.py")), f"ipc://{folder}/state")
    proxy.spawn("zurl", f"--config={folder}/zurl.conf")
    proxy.spawn("pushpin", f"--config={folder}/etc/pushpin.conf", "-m")
    return proxy


def gripproxy(backend_port: int, *, is_behind: bool = False, clients: int = 0, tls: bool = False) -> Proxy:
    """gripproxy from this source tree, for so many clients; 0 is its default."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="gripproxy-"))
    proxy = made("gripproxy", folder)
    proxy.metrics = proxy.control
    (folder / "routes").write_text(routes_to(backend_port, proxy.spares))
    command = [sys.executable, "-m", "gripproxy"]
    imported = subprocess.run([*command, "import-routes", str(folder / "routes")], capture_output=True, check=True)
    write_key(proxy, folder)
    server = BEHIND_GRIPPROXY if is_behind else ""
    if tls:
        server += f'\ncertificate = "{write_certificate(proxy, folder)}"'
    # In Pushpin's words there are no origins, and the table of the server is here already for the sake of ",id=named".
    routes = imported.stdout.decode().replace('cors = ["*"]', f'cors = ["{PAGE}"]')
    routes = routes.replace("[server]", "[server]" + server)
    routes = routes.replace("[[routes]]", f'[[routes]]\nupstream_key = "{UPSTREAM_KEY}"', 1)  # the one for any host
    (folder / "config.toml").write_text(f"""
[limits]
channels_per_connection = {CHANNELS_MAX}
connections = {clients}

[realms.default]
sig_iss = "{SIG_ISS}"
sig_key = "{SIG_KEY}"

[zeromq]
pull = "{proxy.pull}"
sub = ["{proxy.sub}"]
command = "{proxy.command}"
stats = "{proxy.stats}"
stats_connection_ttl = {STATS_TTL}
stats_subscription_ttl = {STATS_TTL}
stats_report_interval = 1

{routes}
""")
    addresses = [f"{host}:{port}" for host, port in (proxy.client, proxy.control)]
    proxy.spawn(
        *command, "run", "--config", str(folder / "config.toml"), "--listen", addresses[0], "--control", addresses[1]
    )
    return proxy


def add_route(proxy: Proxy, line: str) -> None:
    """Adds a route, in Pushpin's words, to what a proxy was started with, and has it read that again."""
    assert proxy.folder
    file, text = proxy.folder / "etc/routes", f"{line}\n"
    if proxy.name == "gripproxy":
        (proxy.folder / "more").write_text(text)
        command = [sys.executable, "-m", "gripproxy", "import-routes", str(proxy.folder / "more")]
        file = proxy.folder / "config.toml"
        text = "\n" + subprocess.run(command, capture_output=True, check=True).stdout.decode()
    with file.open("a") as opened:
        opened.write(text)
    proxy.processes[-1].send_signal(signal.SIGHUP)


def given(environment: Mapping[str, str]) -> Proxy:
    """The proxy that the environment names: GRIP_PROXY_URL, GRIP_CONTROL_URL, and what else is known of it."""

    def address(name: str) -> Address:
        parts = urlsplit(environment[name])
        if not parts.hostname or not parts.port:
            raise ValueError(f"{name} must name a host and a port: {environment[name]}")
        return parts.hostname, parts.port

    return Proxy(
        "given",
        address("GRIP_PROXY_URL"),
        address("GRIP_CONTROL_URL"),
        sig_iss=environment.get("GRIP_SIG_ISS"),
        sig_key=environment.get("GRIP_SIG_KEY"),
        upstream_key=environment.get("GRIP_UPSTREAM_KEY"),
        passthrough_host=environment.get("GRIP_PASSTHROUGH_HOST"),
    )


PROXIES: dict[str, Callable[..., Proxy]] = {"gripproxy": gripproxy, "pushpin": pushpin}


def missing(name: str) -> Sequence[str]:
    """The programs that a proxy needs and this machine lacks."""
    needed = {"pushpin": ("pushpin", "zurl", "condure")}.get(name, ())
    return [program for program in needed if not shutil.which(program)]


@contextmanager
def another(like: Proxy, backend: Backend, **settings: object) -> Iterator[Proxy]:
    """One more proxy of the same kind, for what would disturb all other cases."""
    with OTHERS:
        started = PROXIES[like.name](backend.port, **settings)
        try:
            wait_until_ready(started, backend)
            yield started
        finally:
            started.stop()


def wait_until_ready(proxy: Proxy, backend: Backend) -> None:
    """Waits until holds and publishes work. Raises RuntimeError with the logs if they do not."""
    backend.on("/ready", Reply(b"", [("Grip-Hold", "stream"), ("Grip-Channel", "ready")]))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and all(process.poll() is None for process in proxy.processes):
        try:
            if is_ready(proxy):
                return
        except (OSError, EOFError):
            pass
        time.sleep(0.05)
    raise RuntimeError(f"{proxy.name} does not come up:\n{proxy.logs()}")


def is_ready(proxy: Proxy) -> bool:
    """Whether a stream is held and reached by a publish."""
    stream = proxy.connect(deadline=0.5)
    try:
        if stream.request("/ready").read_head().status != 200:
            return False
        items = b'{"items": [{"channel": "ready", "http-stream": {"content": "x"}}]}'
        published = fetch(*proxy.control, "/publish/", "POST", deadline=0.5, body=items)
        return published.status == 200 and stream.read_data(1) == b"x"
    finally:
        stream.close()
