"""Pushpin's routes file -> our TOML, and a warning for whatever has no equivalent.

A line that cannot be said in our words is left out with a warning, never half taken: what comes out is always a
configuration that loads, as far as the files it names exist.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TextIO

import click
from msgspec.structs import asdict

from gripproxy import config

# Pushpin's files of keys hold PEM or hexadecimal digits, ours PEM or text.
_HEX_FILE = "a key file that is not PEM holds hexadecimal digits for Pushpin; write hex: before them"


@dataclass(slots=True)
class _Line:
    """What one line has come to so far."""

    settings: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    # ws or http, where the line is for one of them.
    protocol: str = ""
    is_over_http: bool = False

    def set_header(self, text: str) -> None:
        name, _, value = text.partition(":")
        if value.strip():
            self.settings.setdefault("headers_set", {})[name.strip()] = value.strip()
        else:
            self.settings.setdefault("headers_remove", []).append(name.strip())


class _LineError(ValueError):
    """A line that cannot be taken over."""


def import_routes(text: str) -> tuple[str, list[str]]:
    """The TOML of a Pushpin routes file, and warnings like ``line 3: ...``."""
    routes: dict[tuple[str, str], config.Route] = {}
    # The protocol that a route was for, and the line, until another line adds the other protocol.
    halves: dict[tuple[str, str], tuple[str, int]] = {}
    warnings: list[str] = []
    for number, source in enumerate(text.split("\n"), 1):
        try:
            line = _parse(source)
            if line is None:
                continue
            route = config.Route(**{key: _frozen(value) for key, value in line.settings.items()})
        except ValueError as error:
            warnings.append(f"line {number}: left out: {error}")
            continue
        place = (route.host, route.path)
        if place not in routes:
            routes[place] = route
            if line.protocol:
                halves[place] = (line.protocol, number)
        elif _are_halves(halves.get(place), line.protocol) and _without_mode(route) == _without_mode(routes[place]):
            routes[place] = route if line.protocol == "ws" else routes[place]
            del halves[place]
        else:
            warnings.append(f"line {number}: left out: an earlier line has the same host and path")
            continue
        warnings += [f"line {number}: {warning}" for warning in line.warnings]
    for protocol, number in halves.values():
        warnings.append(f"line {number}: proto={protocol}: a route takes HTTP and WebSockets both")
    return "\n".join(map(_encode, routes.values())), warnings


@click.command("import-routes")
@click.argument("file", type=click.File(encoding="utf-8"))
def import_routes_command(file: TextIO) -> None:
    """Turn Pushpin's routes into TOML.

    FILE is Pushpin's routes file, or - for standard input. The routes go to standard output, what could not be taken
    over to standard error.

    \b
    Example:
      gripproxy import-routes /etc/pushpin/routes > config.toml
    """
    try:
        toml, warnings = import_routes(file.read())
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{file.name}: is not UTF-8: {error.reason} at byte {error.start}") from None
    for warning in warnings:
        click.echo(f"{file.name}: {warning}", err=True)
    click.echo(toml, nl=False)


def _are_halves(half: tuple[str, int] | None, protocol: str) -> bool:
    """Whether a line for one protocol and an earlier one for the other can be one route."""
    return half is not None and bool(protocol) and half[0] != protocol


def _without_mode(route: config.Route) -> dict[str, Any]:
    return {key: value for key, value in asdict(route).items() if key not in ("id", "websocket", "one_event")}


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _parse(source: str) -> _Line | None:
    sections = _sections(source)
    if not sections:
        return None
    line = _Line()
    condition, *targets = sections
    _condition(line, condition)
    if not targets:
        raise _LineError("there is no target")
    _targets(line, targets)
    line.settings["websocket"] = "over-http" if line.is_over_http else "passthrough"
    return line


def _condition(line: _Line, section: list[str]) -> None:
    host, properties = _properties(section)
    names = dict(properties)
    if not host:
        raise _LineError("a route without host is reached by Pushpin-Route only, which has no equivalent")
    if host != "*":
        line.settings["host"] = host.lower()
    path = names.get("path_beg") or "/"
    line.settings["path"] = path
    if not path.endswith("/"):
        line.warnings.append(f"path_beg={path} took {path}bc too; path takes only {path}, {path}/... and {path}?...")
    if "replace_beg" in names:
        line.settings["rewrite"] = names["replace_beg"] or "/"
    elif "path_rem" in names:
        line.settings["rewrite"] = _rest_of(path, names["path_rem"])
    for name, value in properties:
        if name in ("path_beg", "path_rem", "replace_beg"):
            continue
        take = _CONDITIONS.get(name)
        if take is None:
            line.warnings.append(_NO_EQUIVALENT.get(name, f"{name} is not known"))
        else:
            take(line, value)


def _rest_of(path: str, count: str) -> str:
    if not count.isascii() or not count.isdecimal():
        raise _LineError(f"path_rem must be a number, not {count!r}")
    if int(count) > len(path) or (path[int(count) :] or "/")[0] != "/":
        raise _LineError(f"path_rem={count} does not take whole segments of {path}, which has no equivalent")
    return path[int(count) :] or "/"


def _targets(line: _Line, sections: list[list[str]]) -> None:
    backends = []
    first: list[tuple[str, str]] | None = None
    for section in sections:
        target, properties = _properties(section)
        if target == "test" or target.startswith(("zhttp/", "zhttpreq/")):
            line.warnings.append(f"target {target} left out: only HTTP targets have an equivalent")
            continue
        backends.append(("https://" if "ssl" in dict(properties) else "http://") + _with_port(target))
        others = [one for one in properties if one[0] != "ssl"]
        if first is None:
            first = others
            _target_properties(line, properties)
        elif first != others:
            line.warnings.append(f"target {target}: the properties of the first target are taken for all")
    if not backends:
        raise _LineError("there is no HTTP target")
    line.settings["backends"] = backends


def _with_port(target: str) -> str:
    if not target.rpartition(":")[2].isdecimal() or target.endswith("]"):
        raise _LineError(f"target {target!r} has no port")
    return target


def _target_properties(line: _Line, properties: list[tuple[str, str]]) -> None:
    for name, value in properties:
        take = _TARGETS.get(name)
        if take is None:
            line.warnings.append(_NO_EQUIVALENT.get(name, f"{name} is not known"))
        else:
            take(line, value)


def _put(setting: str) -> Callable[[_Line, str], None]:
    def take(line: _Line, value: str) -> None:
        line.settings[setting] = value

    return take


def _put_switch(setting: str, value: bool) -> Callable[[_Line, str], None]:
    def take(line: _Line, _: str) -> None:
        line.settings[setting] = value

    return take


def _put_key(line: _Line, value: str) -> None:
    line.settings["sig_key"] = config.Secret(value)
    if value.startswith("file:"):
        line.warnings.append(_HEX_FILE)


def _put_file(setting: str) -> Callable[[_Line, str], None]:
    def take(line: _Line, value: str) -> None:
        line.settings[setting] = config.File(value)
        line.warnings.append(f"{setting}: a relative path starts from the configuration file now")

    return take


def _protocol(line: _Line, value: str) -> None:
    if value not in ("http", "ws"):
        raise _LineError(f"proto must be http or ws, not {value!r}")
    line.protocol = value


def _over_http(line: _Line, _: str) -> None:
    line.is_over_http = True


_CONDITIONS: dict[str, Callable[[_Line, str], None]] = {
    "id": _put("id"),
    "proto": _protocol,
    "sig_iss": _put("sig_iss"),
    "sig_key": _put_key,
    "prefix": _put("prefix"),
    "as_host": _put("host_header"),
    "debug": _put_switch("debug", True),
    "session": _put_switch("session", True),
    "no_grip": _put_switch("grip", False),
    "header": _Line.set_header,
}
_TARGETS: dict[str, Callable[[_Line, str], None]] = {
    "ssl": lambda line, _: None,  # in the URL
    "insecure": _put_switch("verify", False),
    "host": _put("host_header"),
    "sub": lambda line, value: line.settings.setdefault("subscribe", []).append(value),
    "over_http": _over_http,
    "one_event": _put_switch("one_event", True),
    "client_cert": _put_file("client_cert"),
    "client_key": _put_file("client_key"),
}
_NO_EQUIVALENT = {
    "ssl": "ssl: a route takes requests with and without TLS",
    "orig_headers": "orig_headers has no equivalent",
    "aco": "aco has no equivalent that lets in every origin with credentials; list the origins in cors",
    "jsonp_mode": "JSON-P has no equivalent",
    "jsonp_cb": "JSON-P has no equivalent",
    "jsonp_body": "JSON-P has no equivalent",
    "jsonp_defcb": "JSON-P has no equivalent",
    "jsonp_defmethod": "JSON-P has no equivalent",
    "sockjs": "SockJS has no equivalent",
    "sockjs_as_path": "SockJS has no equivalent",
    "log_level": "log_level has no equivalent for one route; see [log]",
    "trust_connect_host": "trust_connect_host has no equivalent; set host_header to the name in the certificate",
    "untrusted": "untrusted has no equivalent: backends in private networks are never refused",
    "ipc_file_mode": "ipc_file_mode has no equivalent",
}


def _sections(source: str) -> list[list[str]]:
    """The sections of a line, each a list of its parts between commas; quotes and comments are gone."""
    sections: list[list[str]] = []
    part: str | None = None  # None between sections
    parts: list[str] = []
    for character, is_quoted in _characters(source):
        if character in " \r" and not is_quoted:
            if part is not None:
                sections.append([*parts, part])
            part, parts = None, []
        elif character == "," and not is_quoted:
            parts.append(part or "")
            part = ""
        else:
            part = (part or "") + character
    if part is not None:
        sections.append([*parts, part])
    return sections


def _characters(source: str) -> Iterator[tuple[str, bool]]:
    """Each character that counts, and whether it stood in quotes; an empty text stands for empty quotes."""
    is_quoted = False
    is_escaped = False
    for character in source:
        if is_escaped:
            yield character, True
            is_escaped = False
        elif is_quoted and character == "\\":
            is_escaped = True
        elif character == '"':
            is_quoted = not is_quoted
            yield "", True
        elif character == "#" and not is_quoted:
            return
        else:
            yield character, is_quoted
    if is_quoted:
        raise _LineError("a quote is not closed")


def _properties(section: list[str]) -> tuple[str, list[tuple[str, str]]]:
    """The value of a section and its properties; a first part with = is a property already."""
    value = "" if "=" in section[0] else section[0]
    rest = section if "=" in section[0] else section[1:]
    pairs = [(name, content) for name, _, content in (part.partition("=") for part in rest)]
    if any(not name for name, _ in pairs):
        raise _LineError("a property has no name")
    return value, pairs


def _encode(route: config.Route) -> str:
    defaults = asdict(config.Route(backends=("http://any",)))
    lines = ["[[routes]]"]
    for key, value in asdict(route).items():
        if key == "backends" or value != defaults[key]:
            lines.append(f"{key} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(name)} = {_toml(text)}" for name, text in value.items()) + "}"
    # A basic string of TOML is one of JSON, but for the one control character that JSON leaves as it is.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
