"""Pushpin's routes file -> our TOML, and a warning for whatever has no equivalent.

A line that cannot be said in our words is left out with a warning, never half taken: what comes out is always a
configuration that loads, as far as the files it names exist.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TextIO

import click
from msgspec.structs import asdict, replace

from gripproxy import config
from gripproxy.config.conditions import Condition
from gripproxy.grip.tokens import Key
from gripproxy.routes_file import LineError, properties_of, sections_of

# Pushpin's files of keys hold PEM or hexadecimal digits, ours PEM or text.
_HEX_FILE = "a key file that is not PEM holds hexadecimal digits for Pushpin; write hex: before them"
# What a route without host needs beside itself.
_BY_ID = "[server]\naccept_pushpin_route = true\n"
_NEEDS_TRUST = "reached by Pushpin-Route of server.trusted_proxies only: list who may choose routes there"

# A line of Pushpin's configuration, or of ours, that is none of routes.
_SECTION = re.compile(r"^\[+[\w.]+\]+\s*$", re.MULTILINE)

_EVERY_ORIGIN = "aco: pages of every origin may read without credentials; list in cors those that may with them"


@dataclass(slots=True)
class _Line:
    """What one line, or one target of it, has come to so far."""

    settings: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def set_header(self, text: str) -> None:
        name, colon, value = text.partition(":")
        if not colon:
            raise LineError(f"header must be NAME:VALUE, not {text!r}")
        if value.strip():
            self.settings.setdefault("headers_set", {})[name.strip()] = value.strip()
        else:
            self.settings.setdefault("headers_remove", []).append(name.strip())


def import_routes(text: str) -> tuple[str, list[str]]:
    """The TOML of a Pushpin routes file, and warnings like ``line 3: ...``."""
    found: dict[int, config.Route] = {}
    warnings: list[str] = []
    seen: set[Condition] = set()
    for number, source in enumerate(text.split("\n"), 1):
        try:
            line = _parse(source)
            if line is None:
                continue
            route = config.Route(**{key: _frozen(value) for key, value in line.settings.items()})
            if route.host and route.condition in seen:
                raise LineError("an earlier line has the same condition")
        except ValueError as error:
            warnings.append(f"line {number}: left out: {error}")
            continue
        seen.add(route.condition)
        found[number] = route
        warnings += [f"line {number}: {warning}" for warning in dict.fromkeys(line.warnings)]
    warnings += _distinguish(found)
    warnings += _fallbacks(found)
    tables = [_BY_ID] if any(not route.host for route in found.values()) else []
    return "\n".join([*tables, *map(_encode, found.values())]), warnings


def _distinguish(found: dict[int, config.Route]) -> Iterator[str]:
    """Take the id from whoever has one that is in use, where requests may name routes."""
    by_id = any(not route.host for route in found.values())
    first: dict[str, int] = {}
    for number, route in list(found.items()):
        other = first.setdefault(route.id, number) if route.id else number
        if other == number:
            continue
        if not by_id:
            yield f"line {number}: line {other} has the id {route.id!r}, too; metrics and logs take them for one"
        elif route.host:
            found[number] = replace(route, id="")
            yield f"line {number}: the id is left out: line {other} has {route.id!r}, too"
        else:
            del found[number]
            yield f"line {number}: left out: line {other} has the id {route.id!r}, too"


def _fallbacks(found: dict[int, config.Route]) -> Iterator[str]:
    """Warn of hosts that get requests of ``*`` here: for Pushpin a host with routes has only those."""
    if not any(route.host == "*" for route in found.values()):
        return
    lines: dict[str, int] = {}
    whole: dict[str, set[tuple[str, bool]]] = {}
    for number, route in found.items():
        if route.host not in ("*", ""):
            lines.setdefault(route.host, number)
            if route.condition.path == "/":
                whole.setdefault(route.host, set()).update(
                    (protocol, tls)
                    for protocol in ("http", "websocket")
                    for tls in (True, False)
                    if route.protocol in ("any", protocol) and route.tls in (None, tls)
                )
    for host, number in lines.items():
        if len(whole.get(host, ())) < 4:
            yield f"line {number}: what no route of {host} takes goes to those of * here; Pushpin answered 502"


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
        text = file.read()
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{file.name}: is not UTF-8: {error.reason} at byte {error.start}") from None
    if section := _SECTION.search(text):
        reason = f"{section[0].strip()} is no route; pushpin.conf has such lines, and names the routes file"
        raise click.ClickException(f"{file.name}: {reason}")
    toml, warnings = import_routes(text)
    for warning in warnings:
        click.echo(f"{file.name}: {warning}", err=True)
    click.echo(toml, nl=False)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _parse(source: str) -> _Line | None:
    parts = sections_of(source)
    if not parts:
        return None
    line = _Line()
    condition, *targets = parts
    _condition(line, condition)
    if not targets:
        raise LineError("there is no target")
    _targets(line, targets)
    return line


def _condition(line: _Line, section: list[str]) -> None:
    host, properties = properties_of(section)
    names = dict(properties)
    if host != "*":
        line.settings["host"] = host.lower()
    if not host:
        if not names.get("id"):
            raise LineError("a route without host needs an id")
        line.warnings.append(_NEEDS_TRUST)
    path = names.get("path_beg", "/")
    if not path:
        raise LineError("path_beg is empty")
    rewrite = _rewrite(names)
    # Behind a final "/" anything may follow as it is, but a rewrite would put one of its own in place of it.
    if not path.endswith("/") or ("path_beg" in names and rewrite is not None and not rewrite.endswith("/")):
        path += "*"
    line.settings["path"] = path
    if rewrite is not None:
        line.settings["rewrite"] = rewrite
    for name, value in properties:
        if name in ("path_beg", "path_rem", "replace_beg"):
            continue
        take = _CONDITIONS.get(name)
        if take is None:
            line.warnings.append(_NO_EQUIVALENT.get(name, f"{name} is not known"))
        else:
            take(line, value)


def _rewrite(names: dict[str, str]) -> str | None:
    """What takes the place of path_beg."""
    path = names.get("path_beg", "")
    if "replace_beg" in names:
        return names["replace_beg"] or "/"
    if "path_rem" not in names:
        return None
    count = names["path_rem"]
    if not count.isascii() or not count.isdecimal():
        raise LineError(f"path_rem must be a number, not {count!r}")
    if int(count) > len(path):
        raise LineError(f"path_rem={count} takes more than path_beg, which has no equivalent")
    # Pushpin refuses requests whose path is left without its "/".
    rest = path[int(count) :]
    return rest if rest.startswith("/") else "/" + rest


def _targets(line: _Line, sections: list[list[str]]) -> None:
    tables = []
    for section in sections:
        target, properties = properties_of(section)
        if target == "test" or target.startswith(("zhttp/", "zhttpreq/")):
            line.warnings.append(f"target {target} left out: only HTTP targets have an equivalent")
            continue
        own = _target(line, _with_port(target), properties)
        tables.append(own.settings)
        line.warnings += [warning for warning in own.warnings if warning not in line.warnings]
    if not tables:
        raise LineError("there is no HTTP target")
    shared = _shared(tables)
    line.settings |= shared
    line.settings["backends"] = [_backend(table, shared) for table in tables]


def _target(line: _Line, target: str, properties: list[tuple[str, str]]) -> _Line:
    own = _Line({"url": ("https://" if "ssl" in dict(properties) else "http://") + target, "websocket": "passthrough"})
    for name, value in properties:
        take = _TARGETS.get(name)
        if take is None:
            own.warnings.append(_NO_EQUIVALENT.get(name, f"{name} is not known"))
        else:
            take(own, value)
    if "ssl" in dict(properties) and own.settings.get("verify", True):
        _certificate(line, own, target.rpartition(":")[0].strip("[]"), "trust_connect_host" in dict(properties))
    return own


def _certificate(line: _Line, own: _Line, host: str, trusts_target: bool) -> None:
    """Say whose certificate it has to be, where that is not what it is here without saying so."""
    has_host = "host_header" in own.settings or "host_header" in line.settings
    asked = line.settings.get("host", "*").strip("[]")
    if has_host and trusts_target:
        own.settings["verify_host"] = host
    elif not has_host and not trusts_target and asked not in ("", "*"):
        own.settings["verify_host"] = asked
    elif not has_host and not trusts_target:
        own.warnings.append(f"ssl: the certificate has to be one of {host}, no more of the host that a client asks for")


# Belong together: a key alone is none.
_PAIR = {"client_cert", "client_key"}


def _shared(tables: list[dict[str, Any]]) -> dict[str, Any]:
    """What all targets have, and the mode of the first, is the route's."""
    first = tables[0]
    unlike = {name for table in tables for name in table if any(one.get(name) != table[name] for one in tables)}
    if unlike & _PAIR:
        unlike |= _PAIR
    return {name: value for name, value in first.items() if name == "websocket" or name not in unlike | {"url"}}


def _backend(table: dict[str, Any], shared: dict[str, Any]) -> str | config.Backend:
    own = {name: _frozen(value) for name, value in table.items() if name not in shared or shared[name] != value}
    url: str = own["url"]
    return config.Backend(**own) if len(own) > 1 else url


def _with_port(target: str) -> str:
    if not target.rpartition(":")[2].isdecimal() or target.endswith("]"):
        raise LineError(f"target {target!r} has no port")
    return target


def _put(setting: str, fixed: object = None) -> Callable[[_Line, str], None]:
    """Put the value of a property into a setting, or what the property alone means."""

    def take(line: _Line, value: str) -> None:
        line.settings[setting] = value if fixed is None else fixed

    return take


def _put_key(line: _Line, value: str) -> None:
    line.settings["sig_key"] = config.Secret(value)
    if value.startswith("file:"):
        line.warnings.append(_HEX_FILE)
    elif value:
        try:
            Key.from_text(value)
        except ValueError as error:
            raise LineError(f"sig_key: {error}") from None


def _put_file(setting: str) -> Callable[[_Line, str], None]:
    def take(line: _Line, value: str) -> None:
        line.settings[setting] = config.File(value)
        line.warnings.append(f"{setting}: a relative path starts from the configuration file now")

    return take


def _put_one_of(setting: str, name: str, values: dict[str, Any]) -> Callable[[_Line, str], None]:
    def take(line: _Line, value: str) -> None:
        if value not in values:
            raise LineError(f"{name} must be {' or '.join(values)}, not {value!r}")
        line.settings[setting] = values[value]

    return take


def _put_origins(line: _Line, _: str) -> None:
    line.settings["cors"] = ["*"]
    line.warnings.append(_EVERY_ORIGIN)


_CONDITIONS: dict[str, Callable[[_Line, str], None]] = {
    "id": _put("id"),
    "proto": _put_one_of("protocol", "proto", {"http": "http", "ws": "websocket"}),
    "ssl": _put_one_of("tls", "ssl", {"yes": True, "no": False}),
    "orig_headers": _put("orig_headers", True),
    "aco": _put_origins,
    "sig_iss": _put("sig_iss"),
    "sig_key": _put_key,
    "prefix": _put("prefix"),
    "as_host": _put("host_header"),
    "debug": _put("debug", True),
    "session": _put("session", True),
    "no_grip": _put("grip", False),
    "header": _Line.set_header,
}
_TARGETS: dict[str, Callable[[_Line, str], None]] = {
    "ssl": lambda line, _: None,  # in the URL
    "insecure": _put("verify", False),
    "trust_connect_host": lambda line, _: None,  # in verify_host
    "untrusted": _put("public_only", True),
    "host": _put("host_header"),
    "sub": lambda line, value: line.settings.setdefault("subscribe", []).append(value),
    "over_http": _put("websocket", "over-http"),
    "one_event": _put("one_event", True),
    "client_cert": _put_file("client_cert"),
    "client_key": _put_file("client_key"),
}
_NO_EQUIVALENT = {
    "jsonp_mode": "JSON-P has no equivalent",
    "jsonp_cb": "JSON-P has no equivalent",
    "jsonp_body": "JSON-P has no equivalent",
    "jsonp_defcb": "JSON-P has no equivalent",
    "jsonp_defmethod": "JSON-P has no equivalent",
    "sockjs": "SockJS has no equivalent",
    "sockjs_as_path": "SockJS has no equivalent",
    "log_level": "log_level has no equivalent for one route; see [log]",
    "ipc_file_mode": "ipc_file_mode has no equivalent",
}


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
    if isinstance(value, config.Backend):
        unset = asdict(config.Backend(url="http://any")) | {"url": ""}
        given = {name: one for name, one in asdict(value).items() if one != unset[name]}
        return "{" + ", ".join(f"{name} = {_toml(one)}" for name, one in given.items()) + "}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(name)} = {_toml(text)}" for name, text in value.items()) + "}"
    # A basic string of TOML is one of JSON, but for the one control character that JSON leaves as it is.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
