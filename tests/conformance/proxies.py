"""The proxies under test: started with files and ports of their own, or given by their addresses.

Both have the same routes, `ROUTES`: Pushpin reads them, and gripproxy what its import-routes makes of them. Every host
goes to the suite's backend with WebSockets over HTTP, but for those that are there to have something of their own, such
as `PASSTHROUGH_HOST`. Grip-Sig is signed with `SIG_KEY` for the issuer `SIG_ISS`.

A proxy "behind" another one believes what the suite, in the place of that one, says of the client.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.conformance.backend import Backend, Reply
from tests.conformance.client import Connection, fetch
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
Address = tuple[str, int]


@dataclass(slots=True)
class Proxy:
    """A proxy that runs; `sig_key` is None where the suite does not know it."""

    name: str
    client: Address
    control: Address
    sig_iss: str | None = SIG_ISS
    sig_key: str | None = SIG_KEY
    passthrough_host: str | None = PASSTHROUGH_HOST
    pull: str | None = None  # ZeroMQ's addresses: to push items to,
    command: str | None = None  # to ask at,
    stats: str | None = None  # and to be told at
    has_routes: bool = False
    folder: pathlib.Path | None = None
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def spawn(self, *command: str) -> None:
        assert self.folder
        with (self.folder / f"{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        self.processes.append(process)

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
    client, control, pull = (("127.0.0.1", free_port()) for _ in range(3))
    return Proxy(
        name,
        client,
        control,
        pull=f"tcp://{pull[0]}:{pull[1]}",
        command=f"ipc://{folder}/command",
        stats=f"ipc://{folder}/stats",
        has_routes=True,
        folder=folder,
    )


def routes_to(port: int) -> str:
    """`ROUTES`, in Pushpin's words, to the backend on the port."""
    return ROUTES.format(target=f"127.0.0.1:{port}", nobody=f"127.0.0.1:{free_port()}")


def pushpin(backend_port: int, *, is_behind: bool = False) -> Proxy:
    """Debian's Pushpin with zurl, as a private instance."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pushpin-"))
    proxy = made("pushpin", folder)
    shutil.copytree("/etc/pushpin", folder / "etc")
    settings = {
        "rundir": str(folder),
        "logdir": str(folder),
        "http_port": str(proxy.client[1]),
        "push_in_http_port": str(proxy.control[1]),
        "push_in_spec": str(proxy.pull),
        "push_in_sub_specs": f"ipc://{folder}/sub",
        "command_spec": str(proxy.command),
        "stats_spec": str(proxy.stats),
        "stats_connection_ttl": str(STATS_TTL),
        "stats_subscription_ttl": str(STATS_TTL),
        "stats_report_interval": "1",
        "include": str(folder / "internal.conf"),
        "sig_iss": SIG_ISS,
        "sig_key": SIG_KEY,
        **(BEHIND_PUSHPIN if is_behind else {}),
    }
    lines = (folder / "etc/pushpin.conf").read_text().split("\n")
    named = [(line.partition("=")[0], line) for line in lines]
    text = "\n".join(f"{name}={settings[name]}" if name in settings else line for name, line in named)
    text = text.replace("[handler]", f"[handler]\nstate_spec=ipc://{folder}/state")
    (folder / "etc/pushpin.conf").write_text(text)
    (folder / "etc/routes").write_text(routes_to(backend_port))
    for name, source in (("internal.conf", "/usr/lib/pushpin/internal.conf"), ("zurl.conf", "/etc/zurl.conf")):
        (folder / name).write_text(pathlib.Path(source).read_text().replace("/var/run/zurl", str(folder)))
    proxy.spawn(sys.executable, str(pathlib.Path(__file__).with_name("state.py")), f"ipc://{folder}/state")
    proxy.spawn("zurl", f"--config={folder}/zurl.conf")
    proxy.spawn("pushpin", f"--config={folder}/etc/pushpin.conf", "-m")
    return proxy


def gripproxy(backend_port: int, *, is_behind: bool = False) -> Proxy:
    """gripproxy from this source tree."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="gripproxy-"))
    proxy = made("gripproxy", folder)
    (folder / "routes").write_text(routes_to(backend_port))
    command = [sys.executable, "-m", "gripproxy"]
    imported = subprocess.run([*command, "import-routes", str(folder / "routes")], capture_output=True, check=True)
    # In Pushpin's words there are no origins, and the table of the server is here already for the sake of ",id=named".
    routes = imported.stdout.decode().replace('cors = ["*"]', f'cors = ["{PAGE}"]')
    routes = routes.replace("[server]", "[server]" + BEHIND_GRIPPROXY * is_behind)
    (folder / "config.toml").write_text(f"""
[limits]
channels_per_connection = {CHANNELS_MAX}

[realms.default]
sig_iss = "{SIG_ISS}"
sig_key = "{SIG_KEY}"

[zeromq]
pull = "{proxy.pull}"
sub = ["ipc://{folder}/sub"]
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
        passthrough_host=environment.get("GRIP_PASSTHROUGH_HOST"),
    )


PROXIES: dict[str, Callable[..., Proxy]] = {"gripproxy": gripproxy, "pushpin": pushpin}


def missing(name: str) -> Sequence[str]:
    """The programs that a proxy needs and this machine lacks."""
    needed = {"pushpin": ("pushpin", "zurl", "condure")}.get(name, ())
    return [program for program in needed if not shutil.which(program)]


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
    stream = Connection(*proxy.client, deadline=0.5)
    try:
        if stream.request("/ready").read_head().status != 200:
            return False
        items = b'{"items": [{"channel": "ready", "http-stream": {"content": "x"}}]}'
        published = fetch(*proxy.control, "/publish/", "POST", deadline=0.5, body=items)
        return published.status == 200 and stream.read_data(1) == b"x"
    finally:
        stream.close()
