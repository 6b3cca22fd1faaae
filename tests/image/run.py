"""Builds both container images and uses them as ``docker-compose.yml`` does; started by ``make image-test``.

Needs root and Debian's buildah, podman and runc (no Docker engine), and podman-compose, which it takes from PyPI.
Everything lives in one temporary folder: storage, base image, virtual environment; nothing of it is left behind.

The base image that the Dockerfiles name is made with debootstrap from the Debian release that it is made of, with
Debian's Python; ``BASE=pull`` takes the real one from its registry instead.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
BASE = "docker.io/library/python:3.11-slim-bookworm"
PORT = int(os.environ.get("PORT", "17999"))
TOOLS = ("buildah", "podman", "runc")
IMAGES = {"gripproxy": "Dockerfile", "headline": "headline_backend/Dockerfile"}
START_LIMIT = 60.0  # seconds
STOP_LIMIT = 15.0  # seconds; server.shutdown_timeout is 10

# Limits are given because a container may otherwise ask for more than a sandbox allows it.
CONTAINERS_CONF = """
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=1024:1024"]
"""
STORAGE_CONF = """
[storage]
driver = "vfs"
graphroot = "{folder}/storage"
runroot = "{folder}/runroot"
"""


def run(*command: str | Path, check: bool = True, quiet: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; a failure shows its output."""
    result = subprocess.run([str(part) for part in command], cwd=ROOT, text=True, capture_output=quiet)
    if check and result.returncode:
        print(result.stdout or "", result.stderr or "", sep="\n")
        raise SystemExit(f"failed with {result.returncode}: {' '.join(map(str, command))}")
    return result


def step(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def expect(what: str, expected: object, actual: object) -> None:
    if expected != actual:
        raise SystemExit(f"FAILED  {what}: expected {expected!r}, got {actual!r}")
    step(f"ok  {what}")


def make_base(folder: Path) -> None:
    """Give podman the image that the Dockerfiles start from."""
    if os.environ.get("BASE") == "pull":
        run("podman", "pull", BASE)
        return
    if not shutil.which("debootstrap"):
        raise SystemExit("needs debootstrap: apt-get install debootstrap, or BASE=pull")
    tree = folder / "base"
    packages = "ca-certificates,python3,python3-pip,python3-venv"
    run("debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", tree, "http://deb.debian.org/debian")
    (tree / "usr/bin/python").symlink_to("python3")
    for marker in tree.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        marker.unlink()
    archive = folder / "base.tar"
    run("tar", "-C", tree, "--exclude=./var/cache/apt/archives/*.deb", "-cf", archive, ".")
    run("podman", "import", archive, BASE)
    shutil.rmtree(tree)
    archive.unlink()


def build_volumes(folder: Path) -> list[str]:
    """Hand the certificates that this machine's pip trusts into the build, and no more of the machine."""
    bundle = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
    if not bundle:
        return []
    inside = "/etc/ssl/certs/ca-certificates.crt"
    settings = folder / "pip.conf"
    settings.write_text(f"[global]\ncert = {inside}\n")
    return [f"--volume={bundle}:{inside}:ro", f"--volume={settings}:/etc/pip.conf:ro"]


def compose_command(folder: Path) -> list[str]:
    run(sys.executable, "-m", "venv", folder / "venv")
    run(folder / "venv/bin/pip", "install", "--quiet", "podman-compose>=1.2")
    return [str(folder / "venv/bin/podman-compose"), "-p", "gripproxy-image-test"]


def container(service: str) -> str:
    """Return the id of a service's container, or an empty text."""
    label = f"label=com.docker.compose.service={service}"
    return run("podman", "ps", "-q", "--all", "--filter", label).stdout.strip()


def inspect(service: str, template: str) -> str:
    return run("podman", "inspect", "--format", template, container(service)).stdout.strip()


@contextlib.contextmanager
def healthchecks() -> Iterator[None]:
    """Run the images' health checks, as a Docker engine does by itself and podman only with systemd's help."""
    stopped = threading.Event()

    def repeat() -> None:
        while not stopped.wait(1):
            for service in ("headline", "proxy"):
                if found := container(service):
                    run("podman", "healthcheck", "run", found, check=False)

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def request(method: str, path: str, body: str | None = None, **fields: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in fields.items()})
    response = connection.getresponse()
    return response.status, response.read().decode()


def wait_healthy(service: str) -> None:
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline:
        if container(service) and inspect(service, "{{.State.Health.Status}}") == "healthy":
            step(f"ok  {service} is healthy")
            return
        time.sleep(0.5)
    print(run("podman", "logs", container(service), check=False))
    raise SystemExit(f"FAILED  {service} is not healthy after {START_LIMIT:g} s")


def check_confinement(service: str) -> None:
    """Look at a running container from inside: who it is, what it may."""

    def inside(code: str) -> str:
        return run("podman", "exec", container(service), "python", "-c", code, check=False).stdout.strip()

    status = "dict(line.split(':', 1) for line in open('/proc/1/status'))"
    expect(f"{service}: user", "10001", inside(f"print({status}['Uid'].split()[1])"))
    expect(f"{service}: capabilities", 0, int(inside(f"print({status}['CapEff'])"), 16))
    expect(f"{service}: no new privileges", "1", inside(f"print({status}['NoNewPrivs'].strip())"))
    attempt = "try: open('/etc/x', 'w')\nexcept OSError as error: print(error.strerror)"
    expect(f"{service}: root file system", "Read-only file system", inside(attempt))
    if service == "proxy":
        tools = "import shutil; print([name for name in ('cc', 'gcc', 'make') if shutil.which(name)])"
        expect(f"{service}: build tools", "[]", inside(tools))


def check_realtime() -> None:
    """Publish through both containers, and see the client get it."""
    expect("the page", 200, request("GET", "/", Accept="text/html")[0])
    expect("the page's script", 200, request("GET", "/static/headlines/app.js")[0])
    status, text = request("POST", "/", json.dumps({"type": "none", "title": "one", "text": ""}))
    expect("POST /", 200, status)
    headline = json.loads(text)
    path = f"/{headline['id']}/"
    stream = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    stream.request("GET", path, headers={"Accept": "text/event-stream"})
    response = stream.getresponse()
    expect("held stream", (200, "text/event-stream"), (response.status, response.headers.get_content_type()))
    expect("PUT", 200, request("PUT", path, json.dumps({"type": "none", "title": "two", "text": ""}))[0])
    lines = []
    while not any("two" in line for line in lines):
        line = response.readline().decode()
        if not line:
            raise SystemExit(f"FAILED  the stream ended without the update: {lines}")
        lines.append(line)
    step("ok  the stream got the update")
    stop("proxy")
    expect("held stream: what is left when it ends", b"\n", response.read())


def stop(service: str) -> None:
    """SIGTERM must be enough, soon, and no error."""
    started = time.monotonic()
    run("podman", "stop", "--time", str(int(STOP_LIMIT * 2)), container(service))
    expect(f"{service}: exit code after SIGTERM", "0", inspect(service, "{{.State.ExitCode}}"))
    seconds = time.monotonic() - started
    expect(f"{service}: ended in time ({seconds:.1f} s)", True, seconds < STOP_LIMIT)


def check_images(folder: Path) -> None:
    compose = compose_command(folder)
    run(*compose, "config")
    step("ok  docker-compose.yml is understood")
    os.environ["PORT"] = str(PORT)
    try:
        with healthchecks():
            run(*compose, "up", "--detach", "--no-build")
            wait_healthy("headline")
            wait_healthy("proxy")
        for service in ("proxy", "headline"):
            check_confinement(service)
        check_realtime()
        stop("headline")
    finally:
        for service in ("headline", "proxy"):
            logs = run("podman", "logs", container(service), check=False)
            (folder / f"{service}.log").write_text(logs.stdout + logs.stderr)
        if sys.exc_info()[0]:
            print(*((folder / f"{service}.log").read_text() for service in ("headline", "proxy")), sep="\n----\n")
        run(*compose, "down", "--volumes", check=False)
    bare = run("podman", "run", "--rm", "localhost/gripproxy", check=False)
    expect("without a backend: exit code", 2, bare.returncode)
    expect("without a backend: says what is missing", True, "--backend" in bare.stderr)


def main() -> None:
    if os.geteuid() or (missing := [tool for tool in TOOLS if not shutil.which(tool)]):
        raise SystemExit(f"needs root and {', '.join(TOOLS)}: apt-get install {' '.join(TOOLS)} debootstrap")
    del missing
    folder = Path(tempfile.mkdtemp(prefix="gripproxy-image-test-"))
    (folder / "storage.conf").write_text(STORAGE_CONF.format(folder=folder))
    (folder / "containers.conf").write_text(CONTAINERS_CONF)
    os.environ["CONTAINERS_STORAGE_CONF"] = str(folder / "storage.conf")
    os.environ["CONTAINERS_CONF"] = str(folder / "containers.conf")
    os.environ["BUILDAH_ISOLATION"] = "chroot"
    try:
        step("base image")
        make_base(folder)
        for image, dockerfile in IMAGES.items():
            step(f"building {image} from {dockerfile}")
            run("buildah", "build", "--format=docker", *build_volumes(folder), "-t", image, "-f", dockerfile, ".")
        check_images(folder)
    finally:
        run("podman", "system", "reset", "--force", check=False)
        shutil.rmtree(folder, ignore_errors=True)
    step("all is well")


if __name__ == "__main__":
    main()
