"""What a session may use, and the pauses that follow from it."""

import pytest

from gripproxy.grip.limits import Limits


@pytest.mark.parametrize(
    "wrong", [{"message_size": 0}, {"buffered": 0}, {"queued": 0}, {"response_size": 0}, {"retries": -1}, {"meta": -1}]
)
def test_limits_must_make_sense(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Limits(**wrong)  # type: ignore[arg-type]


def test_pauses_between_retries_double_and_end() -> None:
    limits = Limits(retries=3)
    assert [1.0, 2.5, 4.25, None, None] == [
        limits.retry_pause(retries, jitter) for retries, jitter in [(0, 0.0), (1, 0.5), (2, 0.25), (3, 0.0), (4, 0.0)]
    ]


@pytest.mark.parametrize(
    ("interval", "jitter", "pause"), [(100, 0.0, 100.0), (100, 1.0, 90.0), (21, 1.0, 20.0), (5, 0.0, 20.0)]
)
def test_jitter_brings_polls_forward_but_not_below_the_floor(interval: int, jitter: float, pause: float) -> None:
    assert pause == Limits().poll_pause(interval, jitter)
