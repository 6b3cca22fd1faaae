"""Where gripproxy does otherwise than Pushpin, on purpose: the cases that Pushpin fails.

Against Pushpin these cases are expected to fail, strictly: one that passes is an error of this table.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Difference:
    """What Pushpin does in a case, and why gripproxy does what the case says."""

    pushpin: str
    reason: str


DIFFERENCES: dict[str, Difference] = {}
