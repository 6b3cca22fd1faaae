"""A client's opening handshake: which are refused, which offers are taken, and the answer."""

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.headers import build_extension, parse_extension
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Request

from gripproxy.grip.fields import Fields
from gripproxy.transports.handshake import DEFLATE_ANSWER, deflate_answer, encode_accept, refusal

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
FIELDS = ((b"Sec-WebSocket-Key", KEY), (b"Sec-WebSocket-Version", b"13"))


def test_a_right_one_is_not_refused() -> None:
    assert refusal("GET", (1, 1), FIELDS, has_body=False) is None


@pytest.mark.parametrize(
    ("method", "version", "fields", "has_body", "status"),
    [
        ("POST", (1, 1), FIELDS, False, 400),
        ("GET", (1, 0), FIELDS, False, 400),
        ("GET", (1, 1), FIELDS, True, 400),
        ("GET", (1, 1), FIELDS[1:], False, 400),
        ("GET", (1, 1), (*FIELDS, FIELDS[0]), False, 400),
        ("GET", (1, 1), ((b"Sec-WebSocket-Key", b"c2hvcnQ="), FIELDS[1]), False, 400),
        ("GET", (1, 1), ((b"Sec-WebSocket-Key", b"?" * 24), FIELDS[1]), False, 400),
        ("GET", (1, 1), FIELDS[:1], False, 426),
        ("GET", (1, 1), (FIELDS[0], (b"Sec-WebSocket-Version", b"8")), False, 426),
    ],
)
def test_a_wrong_one_is_refused(
    method: str, version: tuple[int, int], fields: Fields, has_body: bool, status: int
) -> None:
    """RFC 6455 4.2.1 and 4.2.2."""
    answer = refusal(method, version, fields, has_body=has_body)
    assert answer is not None
    assert status == answer.status
    assert (status == 426) == ((b"Sec-WebSocket-Version", b"13") in answer.fields)


@pytest.mark.parametrize(
    ("offers", "expected"),
    [
        ([], False),
        ([b"permessage-deflate"], True),
        ([b"Permessage-Deflate; client_max_window_bits"], True),
        ([b"x-unknown, permessage-deflate; server_no_context_takeover"], True),
        ([b"x-unknown", b"permessage-deflate; client_max_window_bits=10"], True),
        ([b"permessage-deflate; server_max_window_bits=15"], True),
        ([b"permessage-deflate; server_max_window_bits=10"], False),
        ([b"permessage-deflate; server_max_window_bits=10, permessage-deflate"], True),
        ([b"permessage-deflate; client_max_window_bits=16"], False),
        ([b"permessage-deflate; unknown"], False),
        ([b"permessage-deflate; client_no_context_takeover; client_no_context_takeover"], False),
        ([b"x-webkit-deflate-frame"], False),
        ([b'"'], False),
    ],
)
def test_an_offer_of_compression_is_taken_when_the_answer_fits_it(offers: list[bytes], expected: bool) -> None:
    """One window and no memory, as frames are shared (RFC 7692 7.1)."""
    assert expected == bool(deflate_answer(tuple((b"Sec-WebSocket-Extensions", offer) for offer in offers)))


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"client_max_window_bits": True},
        {"client_max_window_bits": 10},
        {"server_max_window_bits": 15},
        {"server_max_window_bits": 15, "server_no_context_takeover": True, "client_no_context_takeover": True},
    ],
)
def test_a_client_that_is_strict_takes_the_answer_to_its_offer(parameters: dict[str, int]) -> None:
    """A client that names the server's window must be told it (RFC 7692 7.1.2.1)."""
    offer = ClientPerMessageDeflateFactory(**parameters)
    fields = ((b"Sec-WebSocket-Extensions", build_extension([(offer.name, offer.get_request_params())]).encode()),)
    ((name, answered),) = parse_extension(deflate_answer(fields).decode())
    assert "permessage-deflate" == name
    extension = offer.process_response_params(answered, [])
    assert extension.remote_no_context_takeover
    assert extension.local_no_context_takeover


def test_the_answer_is_the_one_of_the_rfc() -> None:
    """The key and its digest are those of RFC 6455 1.3."""
    head = encode_accept(KEY, ((b"Sec-WebSocket-Protocol", b"chat"),), DEFLATE_ANSWER)
    status, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    assert b"HTTP/1.1 101 Switching Protocols" == status
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in lines
    assert b"Sec-WebSocket-Protocol: chat" in lines
    assert 1 == sum(line.startswith(b"Sec-WebSocket-Extensions: permessage-deflate;") for line in lines)


def test_a_client_accepts_the_answer() -> None:
    client = WSConnection(ConnectionType.CLIENT)
    sent = client.send(Request(host="example.com", target="/"))
    (key,) = (
        line.partition(b": ")[2] for line in sent.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:")
    )
    client.receive_data(encode_accept(key, ()))
    (event,) = client.events()
    assert isinstance(event, AcceptConnection)
