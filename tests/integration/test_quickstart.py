"""The quickstart's application is run as it stands there, and its commands do what it says."""

import re
import select
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from websockets.sync.client import connect

from tests.integration.conftest import ROOT, Proxy, start_proxy
from tests.integration.processes import Process, Processes
from tests.ports import free_port

pytestmark = pytest.mark.requires_program("curl")

DOCUMENT = (ROOT / "docs" / "quickstart.md").read_text()
LIMIT = 20.0  # seconds


@dataclass(frozen=True, slots=True)
class News:
    """The application of the quickstart behind its proxy."""

    proxy: Proxy
    backend_url: str
    backend: Process

    def command(self, start: str) -> list[str]:
        """Return the one command of the document that begins so, for the ports of this test."""
        (block,) = (block for block in re.findall(r"```sh\n(.*?)```", DOCUMENT, re.S) if block.startswith(start))
        for documented, real in (
            ("http://127.0.0.1:7999", self.proxy.url),
            ("http://127.0.0.1:5561", self.proxy.control_url),
            ("http://127.0.0.1:8000", self.backend_url),
        ):
            block = block.replace(documented, real)
        return ["bash", "-ec", f"exec {block}"]

    def start(self, start: str) -> subprocess.Popen[str]:
        """Start a command that is held, and return when the application has answered it."""
        seen = len(self.backend.output())
        running = subprocess.Popen(self.command(start), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.backend.wait_for_output('"GET /', after=seen)
        return running

    def run(self, start: str) -> str:
        """Run a command to its end, and return what it printed."""
        return subprocess.run(
            self.command(start), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True, timeout=LIMIT
        ).stdout


@pytest.fixture(scope="module")
def news(tmp_path_factory: pytest.TempPathFactory) -> Iterator[News]:
    """Run the application and a proxy in front of it."""
    folder = tmp_path_factory.mktemp("quickstart")
    with Processes(folder) as processes:
        port = free_port()
        proxy = start_proxy(processes, f"http://127.0.0.1:{port}")
        yield News(proxy, f"http://127.0.0.1:{port}", serve(processes, proxy, port, application()))


def application() -> str:
    """The application of the document."""
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", DOCUMENT, re.S) if "execute_from" in block)
    return code


def serve(processes: Processes, proxy: Proxy, port: int, code: str) -> Process:
    """Run an application, here behind a proxy that publishes are sent to."""
    path = processes.folder / "news.py"
    path.write_text(code.replace("http://127.0.0.1:5561", proxy.control_url))
    command = [sys.executable, str(path), "runserver", "--noreload", f"127.0.0.1:{port}"]
    return processes.start("news", *command, ports=[port])


def announce_until(news: News, has_arrived: Callable[[], bool]) -> None:
    """Announce as the quickstart does; a second time for a client that was not yet held the first time."""
    for _ in range(int(LIMIT)):
        assert "published\n" == news.run("curl http://127.0.0.1:7999/announce")
        if has_arrived():
            return
    raise AssertionError("nothing arrived")


def has_ended(running: subprocess.Popen[str]) -> bool:
    try:
        running.wait(1)
    except subprocess.TimeoutExpired:
        return False
    return True


def test_the_application_past_the_proxy_shows_its_instructions(news: News) -> None:
    """The fields that the quickstart shows are there."""
    (shown,) = re.findall(r"^```\n(HTTP/1.1 200 OK\n.*?)```", DOCUMENT, re.S | re.M)
    assert set(shown.splitlines()) <= set(news.run("curl -i http://127.0.0.1:8000/stream").splitlines())


def test_a_stream_gets_what_is_announced(news: News) -> None:
    """It prints the lines of the quickstart, and what curl publishes by itself."""
    with news.start("curl -N") as stream:
        assert stream.stdout is not None
        announce_until(news, lambda: bool(select.select([stream.stdout], [], [], 1)[0]))
        assert ["data: It works\n", "\n"] == [stream.stdout.readline(), stream.stdout.readline()]
        news.run("curl http://127.0.0.1:5561/publish/")
        assert "data: from curl\n" in iter(stream.stdout.readline, "")
        stream.kill()


def test_a_long_poll_gets_what_is_announced(news: News) -> None:
    """The published body is the whole answer."""
    with news.start("curl -i http://127.0.0.1:7999/poll") as poll:
        announce_until(news, lambda: has_ended(poll))
        assert poll.stdout is not None
        assert poll.stdout.read().endswith("\n\nIt works\n")


def test_a_websocket_talks_and_gets_what_is_announced(news: News) -> None:
    """It is answered by the view, and hears the channel."""
    with connect(news.proxy.url.replace("http:", "ws:") + "/websocket", proxy=None) as socket:
        socket.send("hello")
        assert "you said: hello" == socket.recv(LIMIT)
        with urllib.request.urlopen(f"{news.proxy.url}/announce", b"It works", timeout=LIMIT):
            assert "It works" == socket.recv(LIMIT)


GRIP = '["django_grip.GripMiddleware"]'


@pytest.mark.parametrize(
    ("right", "wrong", "path", "status", "said"),
    [
        (f"MIDDLEWARE={GRIP}", "MIDDLEWARE=[]", "/stream", 500, "object has no attribute 'grip'"),
        (f"MIDDLEWARE={GRIP}", "MIDDLEWARE=[]", "/websocket", 500, "'wscontext'"),
        (GRIP, f'{GRIP} + ["django.middleware.csrf.CsrfViewMiddleware"]', "/websocket", 403, ""),
        ("@websocket_only", "", "/announce", 200, "answered OPEN with"),
        ('5561",', '5561?iss=default&key=another", GRIP_PROXY_REQUIRED=True,', "/stream", 501, ""),
        ("5561", "7999", "/announce", 200, "to the client door"),
        ('publish("news"', 'publish("newz"', "/announce", 200, "nobody has been subscribed to"),
        ("5561", "5561/realm/news", "/announce", 200, "refused to publish"),
    ],
)
def test_mistakes_show_as_the_document_says(
    processes: Processes, right: str, wrong: str, path: str, status: int, said: str
) -> None:
    """What is said stands in the section on what does not work, and in one of the two terminals."""
    assert said in DOCUMENT.partition("\n## When it does not work\n")[2]
    port = free_port()
    proxy = start_proxy(processes, f"http://127.0.0.1:{port}")
    code = application().replace(right, wrong, 1)
    assert code != application()
    backend = serve(processes, proxy, port, code.replace("http://127.0.0.1:7999", proxy.url))
    fields = ["-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13"]
    fields += ["-H", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="]
    asks = fields if "OPEN" in said or path == "/websocket" else []
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", str(LIMIT), *asks, proxy.url + path]
    assert str(status) == subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    backend.wait_until(lambda: said in backend.output() + proxy.process.output(), f"nobody says {said!r}")
