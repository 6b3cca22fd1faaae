"""What needs no connection: reasons and limits."""

import ssl

import pytest

from gripproxy.load.dialer import file_limit, reason_of


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
        (ConnectionResetError(), "connectionreseterror"),
        (ssl.SSLError(1, "bad"), "TLS: bad"),
    ],
)
def test_the_same_failure_has_the_same_reason(error: OSError, reason: str) -> None:
    assert reason == reason_of(error)


def test_there_is_a_limit_of_open_files() -> None:
    assert 0 < file_limit() < 10**10
