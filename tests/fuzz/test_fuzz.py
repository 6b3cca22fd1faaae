"""A short search that is the same every time; `python -m tests.fuzz` is the long one."""

from itertools import islice
from random import Random

import pytest

from tests.fuzz.corpus import corpus, mutations
from tests.fuzz.targets import TARGETS

MUTATIONS = 300

# The tables of these have keys and masks that are drawn by chance.
WITHOUT_TABLES = {"frames", "publishers", "tokens"}


@pytest.mark.parametrize("name", TARGETS)
def test_every_input_is_taken_or_refused_by_name(name: str) -> None:
    target = TARGETS[name]
    assert len(corpus(target)) > len(target.seeds), "the unit tests' tables have nothing for this target"
    first = corpus(target) if name not in WITHOUT_TABLES else list(target.seeds)
    for data in (*first, *islice(mutations(target, first, Random(name)), MUTATIONS)):
        try:
            target.run(data)
        except Exception as error:
            error.add_note(f"input: {data!r}")
            raise
