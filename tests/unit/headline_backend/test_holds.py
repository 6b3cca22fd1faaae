"""The instructions for the proxy: holds, their fields, and WebSocket events byte for byte."""

import pytest
from django.test import Client
from headlines.models import Headline

INSTRUCTIONS = {"Grip-Status", "Grip-Hold", "Grip-Channel", "Grip-Timeout", "Grip-Keep-Alive"}
EVENTS = "application/websocket-events"


@pytest.fixture
def headline(client: Client) -> Headline:
    return Headline.objects.get(pk=client.post("/", b"", "application/json").json()["id"])


def instructions(response: object) -> dict[str, str]:
    return {name: value for name, value in response.items() if name in INSTRUCTIONS}


@pytest.mark.parametrize(
    ("wait", "timeout"), [("1", "1"), ("20", "20"), ("300", "300"), ("301", "300"), ("9" * 9, "300")]
)
@pytest.mark.parametrize("template", ["{}", "W/{}", '"1", {}', "*"])
def test_a_current_client_that_waits_is_held(
    client: Client, headline: Headline, wait: str, timeout: str, template: str
) -> None:
    """The 304 travels as Grip-Status: an HTTP server would strip a real one of its fields."""
    response = client.get(f"/{headline.pk}/", headers={"If-None-Match": template.format(headline.etag), "Wait": wait})
    expected = {
        "Grip-Status": "304",
        "Grip-Hold": "response",
        "Grip-Channel": f"{headline.pk}; prev-id={headline.revision}",
        "Grip-Timeout": timeout,
    }
    assert (200, b"", headline.etag) == (response.status_code, response.content, response["ETag"])
    assert expected == instructions(response)


@pytest.mark.parametrize(
    ("if_none_match", "wait", "status"),
    [('"1"', "20", 200), ("", "20", 200), ("{}", "0", 304), ("{}", "", 304), ("{}", " ", 304)],
)
def test_otherwise_nobody_is_held(
    client: Client, headline: Headline, if_none_match: str, wait: str, status: int
) -> None:
    fields = {"If-None-Match": if_none_match.format(headline.etag), "Wait": wait}
    response = client.get(f"/{headline.pk}/", headers=fields)
    assert (status, {}) == (response.status_code, instructions(response))


@pytest.mark.parametrize("wait", ["soon", "-1", "1.5", "1e3", "0x10", "1_0", "²", "9" * 10, "1, 2"])
def test_a_wait_that_is_no_number_of_seconds_is_refused(client: Client, headline: Headline, wait: str) -> None:
    response = client.get(f"/{headline.pk}/", headers={"If-None-Match": headline.etag, "Wait": wait})
    assert (400, {"error": "Wait must be a whole number of seconds"}) == (response.status_code, response.json())


@pytest.mark.parametrize(
    "accept",
    [
        "text/event-stream",
        "Text/Event-Stream",
        "text/event-stream; charset=utf-8",
        "text/event-stream;q=0.9, */*;q=0.1",
        "*/*, text/event-stream",
        "application/json;q=0.5, text/event-stream",
    ],
)
@pytest.mark.parametrize("path", ["/{}/", "/"])
def test_an_event_stream_is_held_and_starts_empty(client: Client, headline: Headline, accept: str, path: str) -> None:
    response = client.get(path.format(headline.pk), headers={"Accept": accept})
    expected = {
        "Grip-Hold": "stream",
        "Grip-Channel": "all" if path == "/" else str(headline.pk),
        "Grip-Keep-Alive": r":\n\n; format=cstring; timeout=20",
    }
    assert (200, "text/event-stream", b"") == (response.status_code, response["Content-Type"], response.content)
    assert expected == instructions(response)


@pytest.mark.parametrize(
    "accept",
    ["*/*", "text/*", "application/json, text/event-stream;q=0.5", "text/event-stream;q=0", "text/event-streams"],
)
def test_nobody_gets_a_stream_who_prefers_something_else(client: Client, headline: Headline, accept: str) -> None:
    response = client.get(f"/{headline.pk}/", headers={"Accept": accept})
    assert ("application/json", {}) == (response["Content-Type"], instructions(response))


@pytest.mark.parametrize("fields", [{"Accept": "text/event-stream"}, {"If-None-Match": "*", "Wait": "9"}])
def test_head_is_never_held(client: Client, headline: Headline, fields: dict[str, str]) -> None:
    assert {} == instructions(client.head(f"/{headline.pk}/", headers=fields))


@pytest.mark.parametrize("fields", [{"Accept": "text/event-stream"}, {"If-None-Match": "*", "Wait": "9"}])
def test_without_a_proxy_a_hold_is_not_implemented(headline: Headline, fields: dict[str, str]) -> None:
    assert 501 == Client().get(f"/{headline.pk}/", headers=fields).status_code


def test_without_a_proxy_the_rest_works_and_the_page_says_so(client: Client, headline: Headline) -> None:
    assert 200 == Client().get(f"/{headline.pk}/").status_code
    html = {"Accept": "text/html"}
    assert 'id="unproxied"' in Client().get("/", headers=html).content.decode()
    assert 'id="unproxied"' not in client.get("/", headers=html).content.decode()


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (b"OPEN\r\n", b'OPEN\r\nTEXT %x\r\nc:{"channel": "%s", "type": "subscribe"}\r\n'),
        (b"", b""),
        (b"TEXT 5\r\nhello\r\n", b""),
        (b"TEXT\r\nBINARY 1\r\n\xff\r\n", b""),
        (b"TEXT 1\r\n\xff\r\nPING 1\r\na\r\n", b"PONG 1\r\na\r\n"),
        (b"PING 2\r\nhi\r\n", b"PONG 2\r\nhi\r\n"),
        (b"CLOSE 2\r\n\x03\xe8\r\n", b"CLOSE 2\r\n\x03\xe8\r\n"),
        (b"CLOSE 2\r\n\x0f\xa0\r\n", b"CLOSE 2\r\n\x0f\xa0\r\n"),
        (b"CLOSE 5\r\n\x0f\xa0bye\r\n", b"CLOSE 2\r\n\x03\xe8\r\n"),
        (b"CLOSE\r\n", b"CLOSE 2\r\n\x03\xe8\r\n"),
        (b"DISCONNECT\r\n", b""),
        (b"TEXT 1\r\na\r\nDISCONNECT\r\n", b""),
        (b"NONSENSE\r\n", b""),
    ],
)
@pytest.mark.parametrize("path", ["/{}/", "/"])
def test_websocket_events(client: Client, headline: Headline, events: bytes, expected: bytes, path: str) -> None:
    channel = b"all" if path == "/" else str(headline.pk).encode()
    if b"%s" in expected:
        expected %= (len('c:{"channel": "", "type": "subscribe"}') + len(channel), channel)
    # Django's client leaves the content type out when there is no body; a proxy does not.
    response = client.post(path.format(headline.pk), events, EVENTS, CONTENT_TYPE=EVENTS)
    assert (200, EVENTS, expected) == (response.status_code, response["Content-Type"], response.content)
    assert ("grip" if events.startswith(b"OPEN") else None) == response.get("Sec-WebSocket-Extensions")


def test_a_websocket_to_no_headline_is_refused(client: Client) -> None:
    response = client.post("/999/", b"OPEN\r\n", EVENTS, headers={"Connection-Id": "c1"})
    assert (404, "application/json") == (response.status_code, response["Content-Type"])


@pytest.mark.parametrize("events", [b"TEXT", b"TEXT x\r\n", b"TEXT 70000\r\n" + b"x" * 70_000])
def test_websocket_events_that_cannot_be_read_are_refused(client: Client, headline: Headline, events: bytes) -> None:
    assert 400 == client.post(f"/{headline.pk}/", events, EVENTS, headers={"Connection-Id": "c1"}).status_code
