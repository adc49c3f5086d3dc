"""One thing that is wrong, or worth knowing, as a person reads it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad it is."""

    BROKEN = "BROKEN"
    """Packets are not forwarded, or may not be."""
    DEGRADED = "DEGRADED"
    """They are, but not by all, or not as the resource says."""
    NOTE = "NOTE"
    """Nothing is wrong; it explains what somebody may wonder about."""


_ORDER = (Severity.BROKEN, Severity.DEGRADED, Severity.NOTE)


@dataclass(frozen=True, slots=True)
class Finding:
    """What is so, of which object, and what to do."""

    severity: Severity
    about: str
    """Kind and name, as in ``Pod default/gw-0``."""
    problem: str
    remedy: str = ""

    def as_json(self) -> dict[str, str]:
        """For programs."""
        return {
            "severity": self.severity.value,
            "object": self.about,
            "problem": self.problem,
            "remedy": self.remedy,
        }


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The worst first, else as they come; nothing twice."""
    return tuple(sorted(dict.fromkeys(findings), key=lambda each: _ORDER.index(each.severity)))


def is_bad(findings: Iterable[Finding]) -> bool:
    """Whether anything is wrong."""
    return any(each.severity is not Severity.NOTE for each in findings)
