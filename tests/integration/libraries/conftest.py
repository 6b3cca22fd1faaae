"""The libraries of others, unmodified as their registries give them, and a proxy with a realm that has a key."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import pytest

from tests.conformance import proxies
from tests.conformance.backend import Backend
from tests.conformance.case import Case
from tests.integration.door import DEADLINE, start_door, toml_value
from tests.integration.processes import Processes
from tests.integration.scripted import NUMBERS, SETTLING, Ask, routes_of
from tests.ports import free_port

HERE = Path(__file__).parent
INSTALL_LIMIT = 300.0  # seconds; npm itself needs about ten
KEY = b"\x00\xffa key with bytes that are no text"
SECRET = "a-secret-that-stands-for-itself"  # @fanoutio/grip takes a URL's password without decoding it

Requires = Callable[[str], Path]


@pytest.fixture(scope="session")
def js(requires_program: Requires, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with our scripts beside the libraries for JavaScript, which are installed once for each lock file."""
    requires_program("node")
    npm = requires_program("npm")
    manifests = [HERE / "js" / name for name in ("package.json", "package-lock.json")]
    version = hashlib.sha256(b"".join(path.read_bytes() for path in manifests)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gripproxy-tests"
    installed = cache / f"npm-{version}"
    if not installed.is_dir():
        install(npm, manifests, installed)
    folder = tmp_path_factory.mktemp("js")
    (folder / "node_modules").symlink_to(installed / "node_modules")
    for script in (HERE / "js").glob("*.?js"):
        shutil.copy(script, folder)
    return folder


def install(npm: Path, manifests: list[Path], folder: Path) -> None:
    """Install what the lock file says; the folder is there only when that is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        for path in manifests:
            shutil.copy(path, made)
        command = [str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=made, capture_output=True, text=True, timeout=INSTALL_LIMIT)
        if done.returncode:
            pytest.fail(f"npm ci failed:\n{done.stdout}{done.stderr}", pytrace=False)
        complete = Path(tempfile.mkdtemp(dir=folder.parent))
        Path(made, "node_modules").rename(complete / "node_modules")
    try:
        complete.rename(folder)
    except OSError:  # another session was faster
        shutil.rmtree(complete)


@dataclass(frozen=True, slots=True)
class Publishing:
    """What libraries are told of a proxy: the GRIP_URLs by the way they authenticate, and what makes cases."""

    urls: dict[str, str]
    ask: Ask


REALMS = f"""
[realms.named]
key = {toml_value("base64:" + base64.b64encode(KEY).decode())}

[realms.lettered]
key = {toml_value(SECRET)}

"""
HOSTS: dict[str, dict[str, object]] = {
    "jwt.test": {"realm": "named"},
    "bearer.test": {"realm": "lettered"},
    "basic.test": {"realm": "lettered"},
    "none.test": {},
    SETTLING: {},
}


def grip_urls(control: str) -> dict[str, str]:
    """GRIP_URLs of one control door, given as ``host:port``."""
    key = quote(base64.b64encode(KEY).decode(), safe="")
    secret = quote(SECRET)
    return {
        "jwt": f"http://{control}/realm/named?iss=named&key=base64:{key}",
        "bearer": f"http://{control}/realm/lettered?key={secret}",
        "basic": f"http://somebody:{secret}@{control}/realm/lettered",
        "none": f"http://{control}",
    }


@pytest.fixture(scope="session")
def publishing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Publishing]:
    """A proxy for publishers of every kind; a client of the host `jwt.test` is in the realm of the URL `jwt`."""
    backend = Backend(free_port())
    cases: list[Case] = []
    with Processes(tmp_path_factory.mktemp("publishing")) as processes:
        door = start_door(processes, REALMS + routes_of(backend.port, HOSTS))
        proxy = proxies.Proxy("door", ("127.0.0.1", door.port), ("127.0.0.1", door.control_port))

        def ask(*scripts: Any) -> Case:
            cases.append(Case(proxy, backend, f"case-{next(NUMBERS)}", DEADLINE))
            cases[-1].answer(*scripts)
            return cases[-1]

        yield Publishing(grip_urls(f"127.0.0.1:{door.control_port}"), ask)
        for case in cases:
            case.close()
    backend.stop()


class Run(Protocol):
    """Run a script of the js folder; what it reads and prints is JSON."""

    def __call__(self, script: str, value: Any) -> Any: ...


@pytest.fixture(scope="session")
def run_js(js: Path, requires_program: Requires) -> Run:
    node = str(requires_program("node"))

    def run(script: str, value: Any) -> Any:
        command = [node, str(js / script)]
        done = subprocess.run(command, input=json.dumps(value), capture_output=True, text=True, timeout=30)
        assert 0 == done.returncode, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="session")
def app_command(request: pytest.FixtureRequest) -> Callable[[str], list[str]]:
    """Give a function: name of an app -> the command that runs it, to be followed by a port."""

    def command(name: str) -> list[str]:
        if name == "express":
            node: Requires = request.getfixturevalue("requires_program")
            return [str(node("node")), str(request.getfixturevalue("js") / "express.mjs")]
        return [sys.executable, str(HERE / f"{name}_app.py")]

    return command
