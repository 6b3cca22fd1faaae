"""Tables of texts and numbers into frozen structs, each wrong value named by its key.

Knows how a file, an environment variable and an override are written, and nothing of what the settings mean: a struct
says what it holds by its types, and checks the rest when it is made.
"""

import difflib
import math
import os
import tomllib
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from gripproxy.errors import ConfigError

ENVIRONMENT_PREFIX = "GRIPPROXY__"

_ENVIRONMENT = "environment"

# What to do with Pushpin's files, which people try first. By their names: an error of TOML's is all else they have.
_OF_PUSHPIN = {
    "routes": "; of Pushpin's routes, gripproxy import-routes makes it",
    "pushpin.conf": '; docs/configuration.md says what takes its place ("Coming from Pushpin")',
}

# What C and JavaScript can count up to: whoever is given a number takes one that large.
NUMBER_MAX = 2**53

_UNIONS = (types.UnionType, Union)

T = TypeVar("T", bound=Struct)

# Device, inode, size, and the times of the last change of content and of anything, in nanoseconds: they tell a file
# from the one that stands there later. None where there is none.
Stamp = tuple[int, int, int, int, int] | None


class Secret(str):
    """The text of a key, with ``file:`` already replaced by what the file holds; never shown."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(...)"


class File(str):
    """The path of a file that exists; a relative one starts from the folder of the configuration file."""

    __slots__ = ()


def stamp_of(path: str | Path) -> Stamp:
    """The stamp of the file that a path leads to: links are followed, so one that leads elsewhere has another stamp."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


class SettingError(ValueError):
    """A struct's field holds what it must not; the reader turns it into a ConfigError."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key
        self.reason = reason


def setting_error(source: str, key: str, reason: str) -> ConfigError:
    """``FILE: KEY: reason`` in one line, without the parts that are empty."""
    return ConfigError(": ".join(" ".join(part.split()) for part in (source, key, reason) if part))


def setting_types(kind: type[Struct]) -> dict[str, Any]:
    """The settings of a table and their types."""
    return {one.name: one.type for one in msgspec.structs.fields(kind) if one.name != "source"}


def inner_struct(kind: Any) -> type[Struct] | None:
    """The struct that a setting's type is (a table) or holds (tables by name or in a list), if any."""
    if isinstance(kind, type) and issubclass(kind, Struct):
        return kind
    return next(filter(None, map(inner_struct, get_args(kind))), None)


def text_setting(kind: Any) -> str:
    """The setting that a text stands for, where a table, or one in a list, may be written as a text; else empty."""
    if get_origin(kind) is tuple:
        return text_setting(get_args(kind)[0])
    struct = inner_struct(kind) if get_origin(kind) in _UNIONS and str in get_args(kind) else None
    return "" if struct is None else msgspec.structs.fields(struct)[0].name


def hint(name: str, known: Iterable[str]) -> str:
    """What to add to "there is no NAME"."""
    close = difflib.get_close_matches(name, known, 1, 0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


class Reader:
    """Reads for one file (or none), so that errors can name it and relative paths start from its folder.

    ``stamps`` gets that of each file that is looked at, taken before it is read.
    """

    def __init__(self, path: Path | None, stamps: dict[str, Stamp] | None = None) -> None:
        self._path = path
        self._folder = path.parent if path is not None else Path()
        self._stamps = stamps if stamps is not None else {}

    @property
    def source(self) -> str:
        """The file's path, empty without one."""
        return "" if self._path is None else str(self._path)

    def error(self, key: str, reason: str, source: str | None = None) -> ConfigError:
        """An error of this file, or of another source."""
        return setting_error(self.source if source is None else source, key, reason)

    def tables(self) -> dict[str, Any]:
        """What the file holds.

        Raises: ConfigError
        """
        if self._path is None:
            return {}
        self._stamps[self.source] = stamp_of(self._path)
        try:
            return tomllib.loads(self._path.read_bytes().decode())
        except OSError as error:
            raise self.error("", f"cannot be read: {error.strerror}") from None
        except (ValueError, RecursionError) as error:
            hint = _OF_PUSHPIN.get(self._path.name, "")
            raise self.error("", f"is not TOML: {error}{hint}") from None

    def struct(self, kind: type[T], value: object, path: str = "") -> T:
        """A struct from a table; ``path`` is the table's own key.

        Raises: ConfigError
        """
        if not isinstance(value, Mapping):
            raise self.error(path, "must be a table")
        kinds = setting_types(kind)
        values = {}
        for name, part in value.items():
            key = f"{path}.{name}" if path else name
            if name not in kinds:
                raise self.error(key, f"there is no such setting{hint(name, kinds)}")
            values[name] = self._value(kinds[name], part, key)
        for one in msgspec.structs.fields(kind):
            if one.required and one.name not in values:
                raise self.error(f"{path}.{one.name}", "is missing")
        try:
            return kind(**values)
        except SettingError as error:
            raise self.error(f"{path}.{error.key}" if path else error.key, error.reason) from None

    def put(self, tables: dict[str, Any], key: str, value: object) -> None:
        """Set what a key like ``server.listen`` names.

        Raises: ConfigError
        """
        table, _, name = key.rpartition(".")
        place = tables.setdefault(table, {}) if table else tables
        if not isinstance(place, dict):
            raise self.error(table, "must be a table")
        place[name] = value

    def put_environment(self, tables: dict[str, Any], environment: Mapping[str, str], root: type[Struct]) -> None:
        """Set what the variables name that begin with GRIPPROXY__; each text is read as its setting's type needs.

        Raises: ConfigError
        """
        # ROUTES__2 before ROUTES__10, and ROUTES, which sets all, before both.
        for variable in sorted((one for one in environment if one.startswith(ENVIRONMENT_PREFIX)), key=_natural):
            kind: Any = root
            place: Any = tables
            *tables_parts, last = variable.removeprefix(ENVIRONMENT_PREFIX).split("__")
            for part in tables_parts:
                name, kind = self._step(kind, place, part, variable)
                if inner_struct(kind) is None:
                    raise self.error(variable, f"{part} is not a table", _ENVIRONMENT)
                if isinstance(place, dict):
                    place.setdefault(name, [] if get_origin(kind) is tuple else {})
                if isinstance(place[name], str) and (setting := text_setting(kind)):
                    text = place[name]
                    place[name] = [text] if get_origin(kind) is tuple else {setting: text}
                place = place[name]
            name, kind = self._step(kind, place, last, variable)
            place[name] = self._from_text(kind, environment[variable], variable)

    def _step(self, kind: Any, place: Any, part: str, variable: str) -> tuple[Any, Any]:
        """The key that a part of a variable's name means in a table, and the type of what is there."""
        is_place = isinstance(place, list if get_origin(kind) is tuple else dict)
        if not is_place:
            raise self.error(variable, f"what {self.source} has there is no table", _ENVIRONMENT)
        if get_origin(kind) is dict:
            return _matching_name(part, place), inner_struct(kind)
        if get_origin(kind) is tuple:
            if not _is_index(part) or int(part) > len(place):
                raise self.error(variable, f"{part!r} must be an index up to {len(place)}", _ENVIRONMENT)
            if int(part) == len(place):
                place.append({})
            return int(part), get_args(kind)[0]
        kinds = setting_types(inner_struct(kind) or kind)
        name = part.lower()
        if name not in kinds:
            raise self.error(variable, f"there is no setting {name!r}{hint(name, kinds)}", _ENVIRONMENT)
        return name, kinds[name]

    def _from_text(self, kind: Any, text: str, variable: str) -> Any:
        is_table = inner_struct(kind) is not None
        takes_text = bool(text_setting(kind))
        is_list = _list_kind(kind) is not None and (takes_text or not is_table)
        may_be_plain = is_list or takes_text
        is_bytes = _holds(kind, Secret) or _holds(kind, File)  # keys and paths may be any
        if not is_bytes and not _is_utf8(text):
            raise self.error(variable, "is not UTF-8", _ENVIRONMENT)
        value: Any = text
        is_json = text.lstrip().startswith("[" if is_list else "{") if may_be_plain else is_table
        if is_json or get_origin(kind) is dict:
            try:
                value = msgspec.json.decode(text)
            except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
                raise self.error(variable, f"is not JSON: {error}", _ENVIRONMENT) from None
        elif is_list:
            # A key or a path may hold commas, so a list of them is either one text or JSON.
            value = [text] if is_bytes else [one for one in map(str.strip, text.split(",")) if one]
        if is_table:
            return value
        # Converted at once, so that an error names the variable; kept as text where converting means reading a file.
        converted = self._leaf(kind, value, variable, _ENVIRONMENT)
        return value if is_bytes else converted

    def _value(self, kind: Any, value: Any, key: str) -> Any:
        inner = inner_struct(kind)
        if inner is None:
            return self._leaf(kind, value, key)
        if get_origin(kind) is dict:
            if not isinstance(value, Mapping):
                raise self.error(key, f"must be tables, [{key}.NAME]")
            return {name: self.struct(inner, part, f"{key}.{name}") for name, part in value.items()}
        if get_origin(kind) is tuple:
            setting = text_setting(kind)
            if setting and isinstance(value, str):
                value = [value]
            if not isinstance(value, list | tuple):
                expected = f"texts and tables, not {value!r}" if setting else f"tables, [[{key}]]"
                raise self.error(key, f"must be a list of {expected}")
            return tuple(self._entry(inner, part, f"{key}[{index}]", setting) for index, part in enumerate(value))
        return self.struct(inner, value, key)

    def _entry(self, inner: type[Struct], part: Any, key: str, setting: str) -> Any:
        if setting and isinstance(part, str):
            return part
        if setting and not isinstance(part, Mapping):
            raise self.error(key, f"must be a text or a table, not {part!r}")
        return self.struct(inner, part, key)

    def _leaf(self, kind: Any, value: Any, key: str, source: str | None = None) -> Any:
        if _list_kind(kind) is not None and isinstance(value, str):
            value = [value]  # a list of one is often written as its one text
        try:
            # Only texts of the environment may be read as numbers.
            converted = msgspec.convert(value, kind, strict=source is None, dec_hook=self._custom)
        except msgspec.ValidationError as error:
            reason, _, where = str(error).partition(" - at `$")
            if not (_holds(kind, Secret) or _holds(kind, File)):
                reason = f"must be {_words(kind)}"
                # A table of texts is one of fields, whose values may be credentials.
                reason += "" if get_origin(kind) is dict else f", not {value!r}"
            raise self.error(key + where.rstrip("`"), reason, source) from None
        if isinstance(converted, float) and not math.isfinite(converted):
            raise self.error(key, f"must be finite, not {value!r}", source)
        if isinstance(converted, int | float) and converted > NUMBER_MAX:
            raise self.error(key, f"must be at most {NUMBER_MAX}, not {value!r}", source)
        return converted

    def _custom(self, kind: type, value: Any) -> Any:
        if not isinstance(value, str):
            raise ValueError("must be a text")
        if kind is File:
            return File(self._existing(value)) if value else File("")
        if not value.startswith("file:"):
            return Secret(value)
        path = self._existing(value.removeprefix("file:"))
        try:
            content = path.read_bytes().decode("utf-8", "surrogateescape").strip()
        except OSError as error:
            raise ValueError(f"{str(path)!r} cannot be read: {error.strerror}") from None
        if not content:
            raise ValueError(f"{str(path)!r} is empty")
        return Secret(content)

    def _existing(self, text: str) -> Path:
        path = self._folder / text
        self._stamps[str(path)] = stamp_of(path)
        try:
            is_there = path.is_file()
        except OSError as error:  # a name that is too long, a folder that is closed
            raise ValueError(f"{str(path)!r} cannot be read: {error.strerror}") from None
        if not is_there:
            raise ValueError(f"there is no file {str(path)!r}")
        return path


def unread_variables(environment: Mapping[str, str], root: type[Struct]) -> list[str]:
    """What looks like a variable for a setting of ``root`` and is none, for want of an underscore; one line each."""
    known = {
        f"{table}_{name}".upper()
        for table, kind in setting_types(root).items()
        if isinstance(kind, type) and issubclass(kind, Struct)
        for name in setting_types(kind)
    }
    close = ENVIRONMENT_PREFIX.removesuffix("_")
    return [
        f"environment: {name} is not read: two underscores stand before table and setting"
        for name in sorted(environment)
        if name.startswith(close) and not name.startswith(ENVIRONMENT_PREFIX) and name.removeprefix(close) in known
    ]


def _is_utf8(text: str) -> bool:
    """Whether a text was UTF-8 before it was decoded, as the environment is, with surrogates for other bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_index(part: str) -> bool:
    return part.isascii() and part.isdecimal() and len(part) < 10


def _natural(variable: str) -> list[tuple[int, str]]:
    return [(int(part), "") if _is_index(part) else (-1, part) for part in variable.split("__")]


def _matching_name(part: str, place: Mapping[str, Any]) -> str:
    """The name (of a realm) that a variable means: shells allow only letters, digits and underscores, usually upper."""
    for name in place:
        if name.replace("-", "_").replace(".", "_").lower() == part.lower():
            return name
    return part.lower() if part.isupper() else part


def _list_kind(kind: Any) -> Any:
    """The list that a setting's type is or may be; None where it is none."""
    return next((one for one in (kind, *get_args(kind)) if get_origin(one) is tuple), None)


def _holds(kind: Any, one: type) -> bool:
    return kind is one or any(_holds(part, one) for part in get_args(kind))


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "nothing"}


def _words(kind: Any) -> str:
    """A type as a person would say it."""
    arguments = get_args(kind)
    origin = get_origin(kind)
    if origin is Annotated:
        meta = arguments[1]
        bound = f" of at least {meta.ge}" if meta.ge is not None else f" above {meta.gt}" if meta.gt is not None else ""
        return _words(arguments[0]) + bound
    if origin is Literal:
        return "one of " + ", ".join(arguments)
    if origin is tuple:
        return "a list of texts"
    if origin is dict:
        return "a table of texts"
    if origin is not None:
        return " or ".join(_words(one) for one in arguments if one is not type(None))
    return _WORDS[kind]
