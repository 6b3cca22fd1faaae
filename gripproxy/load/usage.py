"""What the processes of a proxy use: CPU seconds and memory, from Linux's /proc."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gripproxy.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Usage:
    """``cpu_seconds`` (user and system) and ``memory`` (proportional set size, KiB), summed over processes."""

    cpu_seconds: float = 0.0
    memory: int = 0

    @classmethod
    def of(cls, pids: Iterable[int]) -> "Usage":
        """What ``pids`` use now. Raises: ConfigError when one of them cannot be read."""
        cpu, memory = 0.0, 0
        for pid in pids:
            try:
                cpu += parse_stat((Path("/proc") / str(pid) / "stat").read_text(), os.sysconf("SC_CLK_TCK"))
                memory += parse_rollup((Path("/proc") / str(pid) / "smaps_rollup").read_text())
            except (OSError, ValueError, IndexError) as error:
                raise ConfigError(f"--pid: {pid}: its use cannot be read: {error}") from None
        return cls(cpu, memory)


def parse_stat(text: str, ticks: int) -> float:
    """CPU seconds in /proc/PID/stat; the name in it may hold anything, so count from its last parenthesis."""
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / ticks


def parse_rollup(text: str) -> int:
    """The Pss line of /proc/PID/smaps_rollup, in KiB."""
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise ValueError("no Pss")
