"""CPU and memory from the texts of /proc."""

import pytest

from gripproxy.errors import ConfigError
from gripproxy.load.usage import Usage, parse_rollup, parse_stat


def test_cpu_counts_user_and_system_time_whatever_the_name_of_the_process() -> None:
    text = "12 (a) b (c) S 1 12 12 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 1 0"

    assert 2.0 == parse_stat(text, 100)


def test_memory_is_the_proportional_set_size() -> None:
    assert 1234 == parse_rollup("55-7f ---p 0 00:00 0 [rollup]\nRss:  9999 kB\nPss:    1234 kB\n")


def test_a_process_that_is_not_there_is_blamed_on_its_option() -> None:
    with pytest.raises(ConfigError, match=r"^--pid: 0: "):
        Usage.of((0,))


def test_no_process_uses_nothing() -> None:
    assert Usage(0.0, 0) == Usage.of(())
