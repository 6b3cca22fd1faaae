"""Texts are checked one by one, and the wrong one is named."""

import pytest
from msgspec import Struct

from gripproxy.config.checks import check, check_text
from gripproxy.config.reader import SettingError


class Settings(Struct):
    """What the tests check."""

    text: str | None = None
    texts: tuple[object, ...] = ()


def is_a(text: str) -> None:
    if text != "a":
        raise ValueError(f"must be a, not {text}")


@pytest.mark.parametrize("good", [Settings(), Settings("a", ("a", "a")), Settings(texts=(Settings("b"), 5))])
def test_what_is_right_or_no_text_passes(good: Settings) -> None:
    check(good, {"text": is_a, "texts": is_a})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [(Settings("b"), "text: must be a, not b"), (Settings(texts=("a", "b")), r"texts\[1\]: must be a, not b")],
)
def test_what_is_wrong_is_named(wrong: Settings, message: str) -> None:
    with pytest.raises(SettingError, match=f"^{message}$"):
        check(wrong, {"text": is_a, "texts": is_a})


def test_one_text() -> None:
    check_text("key", is_a, "a")
    with pytest.raises(SettingError, match=r"^key: must be a, not b$"):
        check_text("key", is_a, "b")
