"""The table of buses."""

import pytest

from gripproxy.bus import BUSES
from gripproxy.metrics import Metrics


@pytest.mark.parametrize("scheme", sorted(BUSES))
def test_a_scheme_is_the_lower_case_word_before_the_colon(scheme: str) -> None:
    assert scheme.isascii()
    assert scheme == scheme.lower()
    assert ":" not in scheme


def test_the_local_bus_needs_nothing_but_the_sink() -> None:
    bus = BUSES["local"]("local:", lambda realm, items: None, Metrics())

    assert {"publish", "run", "close"} <= set(dir(bus))
