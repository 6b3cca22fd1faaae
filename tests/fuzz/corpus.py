"""First inputs for each target: whole ones from its table of seeds, and what the unit tests' tables have.

A unit test that gets a new line in its table so gives the fuzzer something to start from, too.
"""

import importlib
from collections.abc import Iterator
from random import Random
from typing import Any

from tests.fuzz.target import Target

# Bytes of the longest input that the short search makes.
SIZE_MAX = 4096


def corpus(target: Target) -> list[bytes]:
    """Every first input of a target, each once, the shortest first."""
    found = {*target.seeds, b""}
    for name in target.tables:
        for value in table_values(f"tests.unit.{name}"):
            encoded = target.encode(value)
            if encoded is not None:
                found.add(encoded)
    return sorted(found, key=lambda one: (len(one), one))


def table_values(module: str) -> Iterator[object]:
    """Every value in the tables of a module's tests, from the outside in."""
    for test in vars(importlib.import_module(module)).values():
        for mark in getattr(test, "pytestmark", ()):
            if mark.name == "parametrize":
                yield from _values(list(mark.args[1]))


def _values(value: Any) -> Iterator[object]:
    yield value
    if isinstance(value, list | tuple):
        for one in getattr(value, "values", value) if not isinstance(value, list) else value:
            yield from _values(one)
    elif isinstance(value, dict):
        yield from _values(list(value.values()))


def mutations(target: Target, first: list[bytes], random: Random) -> Iterator[bytes]:
    """Endlessly what is near to the first inputs: cut, joined, repeated, with bytes and words put in."""
    while True:
        data = random.choice(first)
        for _ in range(random.randint(1, 4)):
            data = random.choice(_CHANGES)(data, target, first, random)[:SIZE_MAX]
        yield data


def _cut(data: bytes, target: Target, first: list[bytes], random: Random) -> bytes:
    start, end = sorted((random.randint(0, len(data)), random.randint(0, len(data))))
    return data[:start] + data[end:]


def _join(data: bytes, target: Target, first: list[bytes], random: Random) -> bytes:
    other = random.choice(first)
    return data[: random.randint(0, len(data))] + other[random.randint(0, len(other)) :]


def _flip(data: bytes, target: Target, first: list[bytes], random: Random) -> bytes:
    if not data:
        return random.randbytes(3)
    at = random.randrange(len(data))
    return data[:at] + bytes((random.choice((random.randrange(256), 0, 10, 34, 37, 44, 92, 255)),)) + data[at + 1 :]


def _put(data: bytes, target: Target, first: list[bytes], random: Random) -> bytes:
    at = random.randint(0, len(data))
    return data[:at] + random.choice(target.words or (b"%s", b'"', b"9" * 20, b"\xff\xfe")) + data[at:]


def _repeat(data: bytes, target: Target, first: list[bytes], random: Random) -> bytes:
    start, end = sorted((random.randint(0, len(data)), random.randint(0, len(data))))
    return data[:end] + data[start:end] * random.choice((1, 2, 30)) + data[end:]


_CHANGES = (_cut, _join, _flip, _put, _repeat)
