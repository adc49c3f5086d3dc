"""Conditions in a status: what is so, since when, and told only when it changes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"

_READY = "Ready"
_BAD_NEWS = frozenset({"Conflict", "Degraded"})
"""Conditions that are False when all is well."""


class Wanted(NamedTuple):
    """How a condition should read."""

    status: str
    reason: str
    """One word, for programs."""
    message: str = ""
    """A sentence, for people."""


class Condition(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One condition as it stands in a status; times as in ``2026-11-28T14:35:00Z``."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    observed_generation: int = 0
    last_update_time: str = ""
    last_transition_time: str = ""

    def says(self, wanted: Wanted, generation: int) -> bool:
        """Whether there is nothing to write."""
        return (self.status, self.reason, self.message, self.observed_generation) == (
            *wanted,
            generation,
        )


def parse(status: Mapping[str, Any]) -> tuple[Condition, ...]:
    """Those of a status; what is none is left out, for it is going to be written anew."""
    found = []
    entries = status.get("conditions")
    for each in entries if isinstance(entries, list) else ():
        try:
            found.append(msgspec.convert(each, Condition))
        except msgspec.ValidationError:
            continue
    return tuple(found)


def update(
    conditions: Iterable[Condition], wanted: Mapping[str, Wanted], generation: int, now: datetime
) -> tuple[Condition, ...]:
    """The conditions that are wanted, and no others, in the order of `wanted`.

    One that says the same as before is the same value; the time of its last transition moves only
    with its status. So nothing is written when nothing has changed.
    """
    before = {each.type: each for each in conditions}
    return tuple(
        _updated(before.get(name), name, each, generation, stamp(now))
        for name, each in wanted.items()
    )


def troubles(status: Mapping[str, Any]) -> tuple[str, ...]:
    """The types of the conditions that say that something is wrong; Ready also while nothing says
    that it is so."""
    statuses = {each.type: each.status for each in parse(status)}
    found = {
        name for name, said in statuses.items() if said == (TRUE if name in _BAD_NEWS else FALSE)
    }
    if statuses.get(_READY) != TRUE:
        found.add(_READY)
    return tuple(sorted(found))


def to_json(conditions: Sequence[Condition]) -> list[dict[str, Any]]:
    """As they are written into a status."""
    listed: list[dict[str, Any]] = msgspec.to_builtins(list(conditions))
    return listed


def stamp(moment: datetime) -> str:
    """A time as the API server writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _updated(
    before: Condition | None, name: str, wanted: Wanted, generation: int, now: str
) -> Condition:
    if before is None:
        return Condition(name, *wanted, generation, now, now)
    if before.says(wanted, generation):
        return before
    since = before.last_transition_time if before.status == wanted.status else now
    return Condition(name, *wanted, generation, now, since or now)
