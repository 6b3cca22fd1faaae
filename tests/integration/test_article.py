"""The session of the article "Building a realtime API in Django", command by command, with a real curl."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.integration.conftest import Headline

CURL = shutil.which("curl")
LIMIT = "20"  # seconds after which curl gives up
UPDATE = {"type": "text", "title": "Hello", "text": "hello world"}

pytestmark = pytest.mark.requires_program("curl")


@dataclass(frozen=True, slots=True)
class Answer:
    """What `curl -i` prints."""

    status: int
    reason: str
    fields: dict[str, str]
    body: str

    @classmethod
    def parse(cls, text: str) -> "Answer":
        head, _, body = text.partition("\r\n\r\n")
        status_line, *lines = head.split("\r\n")
        _, status, reason = status_line.split(" ", 2)
        return cls(int(status), reason, {n.lower(): v for n, v in (line.split(": ", 1) for line in lines)}, body)


def start_curl(*arguments: str, errors: int | None = None) -> subprocess.Popen[bytes]:
    command = [str(CURL), "-sS", "-N", "--max-time", LIMIT, *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment)


def finish(running: subprocess.Popen[bytes]) -> Answer:
    output, _ = running.communicate(timeout=30)
    assert 0 == running.returncode, output
    return Answer.parse(output.decode())


def curl(*arguments: str) -> Answer:
    return finish(start_curl("-i", *arguments))


def put(url: str, **fields: str) -> Answer:
    return curl("-X", "PUT", "-H", "Content-Type: application/json", "-d", json.dumps(UPDATE | fields), url)


@pytest.fixture
def url(headline: Headline) -> str:
    """A new headline's URL, through the proxy."""
    created = json.loads(curl("-X", "POST", f"{headline.proxy_url}/").body)
    return f"{headline.proxy_url}/{created['id']}/"


@contextmanager
def long_poll(headline: Headline, url: str, etag: str, seconds: int) -> Iterator[subprocess.Popen[bytes]]:
    """A curl whose request the backend has answered with a hold."""
    seen = len(headline.backend.output())
    running = start_curl("-i", "-H", f"If-None-Match: {etag}", "-H", f"Wait: {seconds}", url)
    path = url.removeprefix(headline.proxy_url)
    headline.backend.wait_for_output(f'"GET {path} ', after=seen)
    with running:
        yield running
        running.kill()


@contextmanager
def stream(url: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A curl that hears the event stream, and the head it got.

    The head is read from the talk of -v: what -i prints stays in curl's buffer until something follows it.
    """
    with start_curl("-v", "-H", "Accept: text/event-stream", url, errors=subprocess.PIPE) as running:
        assert running.stderr is not None
        talk = iter(running.stderr.readline, b"< \r\n")
        head = b"".join(line.removeprefix(b"< ") for line in talk if line.startswith(b"< "))
        yield running, head.decode()
        running.kill()


def next_event(running: subprocess.Popen[bytes]) -> list[str]:
    """The next event's lines, without comments."""
    lines: list[str] = []
    for line in map(bytes.decode, running.stdout or ()):
        if line == "\n" and lines:
            return lines
        if line != "\n" and not line.startswith(":"):
            lines.append(line.rstrip("\n"))
    raise AssertionError(f"the stream ended after {lines}")


def assert_no_instructions(fields: dict[str, str]) -> None:
    assert [] == [name for name in fields if name.startswith("grip")]


def test_post_creates_a_headline(headline: Headline) -> None:
    answer = curl("-X", "POST", f"{headline.proxy_url}/")
    assert (200, "application/json") == (answer.status, answer.fields["content-type"])
    assert ["id", "type", "date", "text"] == list(json.loads(answer.body))


def test_put_changes_it_and_get_shows_it(url: str) -> None:
    changed = put(url)
    shown = curl(url)
    assert (200, "OK") == (changed.status, changed.reason)
    assert UPDATE.items() <= json.loads(shown.body).items()
    assert (changed.body, changed.fields["etag"]) == (shown.body, shown.fields["etag"])
    assert shown.body.startswith('{\n    "id"')
    assert shown.body.endswith("}\n")


def test_a_client_that_knows_it_gets_304(url: str) -> None:
    etag = put(url).fields["etag"]
    answer = curl("-H", f"If-None-Match: {etag}", url)
    assert (304, "NOT MODIFIED", "") == (answer.status, answer.reason.upper(), answer.body)
    assert etag == answer.fields["etag"]


def test_a_client_that_waits_in_vain_gets_304_after_the_time_it_named(headline: Headline, url: str) -> None:
    etag = put(url).fields["etag"]
    started = time.monotonic()
    with long_poll(headline, url, etag, 1) as held:
        answer = finish(held)
    assert time.monotonic() - started > 0.9  # proxies may hold longer: Pushpin holds for 5 seconds at least
    assert (304, "NOT MODIFIED", "") == (answer.status, answer.reason.upper(), answer.body)
    assert etag == answer.fields["etag"]
    assert_no_instructions(answer.fields)


def test_a_client_that_waits_gets_the_update(headline: Headline, url: str) -> None:
    with long_poll(headline, url, put(url).fields["etag"], 60) as held:
        changed = put(url, text="news for the one who waits")
        answer = finish(held)
    assert (200, "OK", changed.body) == (answer.status, answer.reason, answer.body)
    for name in ("etag", "content-type", "content-length"):
        assert changed.fields[name] == answer.fields[name]
    assert_no_instructions(answer.fields)


def test_a_client_that_polls_on_misses_nothing(headline: Headline, url: str) -> None:
    """The ETag of each answer is good for the next request, however quickly updates follow each other."""
    etag = put(url).fields["etag"]
    for text in ("one", "two", "three"):
        with long_poll(headline, url, etag, 60) as held:
            put(url, text=text)
            answer = finish(held)
        assert text == json.loads(answer.body)["text"]
        etag = answer.fields["etag"]


def test_a_client_that_did_not_know_of_an_update_is_not_held(url: str) -> None:
    etag = put(url).fields["etag"]
    changed = put(url, text="while it was away")
    answer = curl("-H", f"If-None-Match: {etag}", "-H", "Wait: 60", url)
    assert (200, changed.body) == (answer.status, answer.body)


def test_an_event_stream_tells_of_each_update(url: str) -> None:
    put(url)
    with stream(url) as (running, head):
        answer = Answer.parse(f"{head}\r\n")
        assert (200, "text/event-stream") == (answer.status, answer.fields["content-type"])
        assert "content-length" not in answer.fields
        assert_no_instructions(answer.fields)
        for text in ("one", "two"):
            changed = json.loads(put(url, text=text).body)
            assert ["event: update", f"data: {json.dumps(changed)}"] == next_event(running)


def test_a_websocket_tells_of_each_update(url: str) -> None:
    with connect(url.replace("http", "ws", 1), proxy=None) as socket:
        for text in ("one", "two"):
            changed = json.loads(put(url, text=text).body)
            assert changed == json.loads(socket.recv(20))


def test_a_websocket_may_talk_and_is_not_listened_to(url: str) -> None:
    with connect(url.replace("http", "ws", 1), proxy=None) as socket:
        socket.send("hello")
        socket.send(b"\x00\xff")
        changed = json.loads(put(url).body)
        assert changed == json.loads(socket.recv(20))


@pytest.mark.parametrize("code", [1000, 4000])
def test_a_websocket_that_closes_gets_its_code_back(url: str, code: int) -> None:
    with connect(url.replace("http", "ws", 1), proxy=None) as socket:
        socket.close(code)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(20)
    assert closed.value.rcvd is not None
    assert code == closed.value.rcvd.code


def test_a_websocket_to_no_headline_is_refused(headline: Headline) -> None:
    url = f"{headline.proxy_url}/999999/".replace("http", "ws", 1)
    with pytest.raises(InvalidStatus) as refused, connect(url, proxy=None):
        pass
    assert 404 == refused.value.response.status_code


def test_one_update_reaches_everybody_who_listens(headline: Headline, url: str) -> None:
    etag = put(url).fields["etag"]
    with (
        stream(url) as (running, _),
        connect(url.replace("http", "ws", 1), proxy=None) as socket,
        long_poll(headline, url, etag, 60) as held,
    ):
        changed = json.loads(put(url, title="Grüße", text="to\nall \U0001f30d").body)
        assert changed == json.loads(finish(held).body)
        assert changed == json.loads(socket.recv(20))
        assert changed == json.loads(next_event(running)[1].removeprefix("data: "))


def test_headlines_do_not_hear_of_each_other(headline: Headline, url: str) -> None:
    other = json.loads(curl("-X", "POST", f"{headline.proxy_url}/").body)
    with stream(url) as (running, _):
        put(f"{headline.proxy_url}/{other['id']}/", text="for the other")
        mine = json.loads(put(url, text="for this").body)
        assert mine == json.loads(next_event(running)[1].removeprefix("data: "))


def test_the_list_tells_of_new_and_changed_headlines(headline: Headline) -> None:
    with stream(f"{headline.proxy_url}/") as (running, _):
        created = json.loads(curl("-X", "POST", f"{headline.proxy_url}/").body)
        assert created == json.loads(next_event(running)[1].removeprefix("data: "))
        changed = json.loads(put(f"{headline.proxy_url}/{created['id']}/").body)
        assert changed == json.loads(next_event(running)[1].removeprefix("data: "))


def test_many_writers_at_once_each_get_a_revision_of_their_own(headline: Headline, url: str) -> None:
    with stream(url) as (running, _), ThreadPoolExecutor(8) as pool:
        # Before the first update nobody in the proxy knows which of two comes first.
        put(url, text="first")
        next_event(running)
        answers = list(pool.map(lambda n: put(url, text=str(n)), range(24)))
        heard = [json.loads(next_event(running)[1].removeprefix("data: ")) for _ in answers]
    assert {200} == {answer.status for answer in answers}
    assert 24 == len({answer.fields["etag"] for answer in answers})
    assert sorted((json.loads(answer.body) for answer in answers), key=itemgetter("date")) == heard


@pytest.mark.parametrize(
    ("arguments", "path", "status"),
    [
        ((), "/999999/", 404),
        (("-X", "PUT", "-d", "{"), "", 400),
        (("-X", "PUT", "-d", "{}"), "", 400),
        (("-X", "DELETE"), "", 405),
        (("-H", "If-None-Match: *", "-H", "Wait: soon"), "", 400),
    ],
)
def test_errors_come_through_as_answers(
    headline: Headline, url: str, arguments: tuple[str, ...], path: str, status: int
) -> None:
    answer = curl(*arguments, f"{headline.proxy_url}{path}" if path else url)
    assert (status, "application/json") == (answer.status, answer.fields["content-type"])
    assert ["error"] == list(json.loads(answer.body))
