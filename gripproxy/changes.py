"""What a new configuration changes in a running proxy, and what of it has to wait for a restart.

A setting that stands in no table here waits: that is the truth for whatever nobody has thought of.
"""

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Struct

from gripproxy.config import Config, Route, SettingError, setting_types

# Settings that a reload applies, by table.
APPLIED: dict[str, frozenset[str]] = {
    "server": frozenset(
        {
            "trusted_proxies",
            "request_id",
            "cdn_loop",
            "accept_pushpin_route",
            "orig_headers_need_mark",
            "keepalive_timeout",
            "shutdown_timeout",
            "certificate",
            "certificate_key",
            "watch",
        }
    ),
    "control": frozenset({"max_body", "metrics"}),
    "log": frozenset({"level", "access", "json", "repeats"}),
    "limits": frozenset(
        {
            "request_header",
            "request_body",
            "replay_body",
            "hold_body",
            "unsent",
            "backlog",
            "websocket_message",
            "websocket_buffered",
            "websocket_handshake_timeout",
            "channels_per_connection",
            "connections",
            "history_items",
            "history_bytes",
            "history_age",
            "duplicates_age",
            "message_wait",
            "subscription_linger",
            "sessions",
            "session_last_ids",
            "session_rules",
            "session_age",
        }
    ),
}
# What it applies that is no table of settings.
APPLIED_WHOLE = frozenset({"realms", "routes", "debug"})

# Files that are named one by one; of more only the number is told.
FILES_NAMED = 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of reading it again: "applied", "unchanged" or "refused", and a text that says more."""

    result: str
    text: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """The configuration to go on by, and the settings of the wanted one that it does not have: they need a restart."""

    config: Config
    waiting: tuple[str, ...]


def applicable(running: Config, wanted: Config) -> Wanted:
    """What of a wanted configuration a running proxy can take.

    Raises: ConfigError when that is not legal together with what has to stay.
    """
    stays: dict[str, object] = {}
    waiting = []
    for table in setting_types(Config):
        old, new = getattr(running, table), getattr(wanted, table)
        if old == new or table in APPLIED_WHOLE:
            continue
        if not isinstance(old, Struct):
            stays[table] = old
            waiting.append(table)
            continue
        names = [
            name
            for name in setting_types(type(old))
            if getattr(old, name) != getattr(new, name) and not _is_applied(running, wanted, table, name)
        ]
        if names:
            stays[table] = msgspec.structs.replace(new, **{name: getattr(old, name) for name in names})
            waiting += [f"{table}.{name}" for name in names]
    if not stays:
        return Wanted(wanted, ())
    try:
        return Wanted(msgspec.structs.replace(wanted, **stays), tuple(waiting))
    except SettingError as error:
        reason = f"{error.reason} (with {', '.join(waiting)} as they are until a restart)"
        raise wanted.error(error.key, reason) from None


def _is_applied(running: Config, wanted: Config, table: str, name: str) -> bool:
    if table == "server" and name in ("certificate", "certificate_key"):
        # A listener speaks TLS or not, from its beginning.
        return bool(running.server.certificate) == bool(wanted.server.certificate)
    return name in APPLIED.get(table, ())


def describe_changes(
    old: Config, new: Config, old_digests: Mapping[str, bytes], new_digests: Mapping[str, bytes]
) -> str:
    """What is different, in a few words for the log; empty when nothing is. No value of a setting is in it."""
    parts = []
    if old.routes != new.routes:
        parts.append("routes: " + _count(_named(old.routes), _named(new.routes)))
    if old.realms != new.realms:
        parts.append("realms: " + _count(old.realms, new.realms))
    for table in setting_types(Config):
        before, after = getattr(old, table), getattr(new, table)
        if table in ("routes", "realms") or before == after:
            continue
        if isinstance(before, Struct):
            names = [name for name in setting_types(type(before)) if getattr(before, name) != getattr(after, name)]
            parts.append(", ".join(f"{table}.{name}" for name in names))
        else:
            parts.append(table)
    files = [file for file, digest in new_digests.items() if old_digests.get(file, digest) != digest]
    if files:
        more = f" and {len(files) - FILES_NAMED} more" if len(files) > FILES_NAMED else ""
        parts.append(f"files: {', '.join(files[:FILES_NAMED])}{more}")
    return "; ".join(parts)


def _named(routes: tuple[Route, ...]) -> dict[Hashable, Route]:
    """Routes by their id, or by their place where they have none of their own."""
    ids = Counter(route.id for route in routes)
    return {route.id if route.id and ids[route.id] == 1 else (route.host, route.path): route for route in routes}


def _count(old: Mapping[Any, object], new: Mapping[Any, object]) -> str:
    changed = len([name for name in new if name in old and old[name] != new[name]])
    added, removed = len(new.keys() - old.keys()), len(old.keys() - new.keys())
    return f"{added} added, {changed} changed, {removed} removed"
