"""Pauses before a link is asked."""

from gripproxy.transports.pace import GAP_SPREAD, RETRIES, gap_pause, retry_pause


def test_gaps_are_spread() -> None:
    pauses = [gap_pause(1.0) for _ in range(200)]
    assert 1.0 <= min(pauses) < 1.0 + GAP_SPREAD / 4
    assert 1.0 + GAP_SPREAD * 3 / 4 < max(pauses) <= 1.0 + GAP_SPREAD


def test_pauses_double_until_it_is_enough() -> None:
    for attempts in range(RETRIES):
        pauses = [retry_pause(attempts) or 0.0 for _ in range(100)]
        assert 2**attempts <= min(pauses) < max(pauses) < 2**attempts + 1
    assert retry_pause(RETRIES) is None
