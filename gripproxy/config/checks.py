"""What structs of settings are checked with: ranges of numbers, and the grammars of texts."""

from collections.abc import Callable, Mapping
from typing import Annotated

from msgspec import Meta, Struct

from gripproxy.config.reader import SettingError

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0)]
PositiveSeconds = Annotated[float, Meta(gt=0)]


def check(struct: Struct, checks: Mapping[str, Callable[[str], object]]) -> None:
    """Check texts and lists of texts; a struct in a list has checked itself, the rest is checked by its type alone.

    Raises: SettingError
    """
    for key, one in checks.items():
        value = getattr(struct, key)
        if isinstance(value, tuple):
            for index, text in enumerate(value):
                if isinstance(text, str):
                    check_text(f"{key}[{index}]", one, text)
        elif value is not None:
            check_text(key, one, value)


def check_text(key: str, check: Callable[[str], object], text: str) -> None:
    """Raises: SettingError, with the key, where the check raises ValueError."""
    try:
        check(text)
    except ValueError as error:
        raise SettingError(key, str(error)) from None
