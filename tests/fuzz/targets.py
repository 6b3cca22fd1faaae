"""The table of targets: every parser of what comes from outside, by name."""

from tests.fuzz import doors, protocol
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = protocol.TARGETS | doors.TARGETS
