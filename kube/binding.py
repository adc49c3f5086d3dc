"""How next hops are tied to their BFD sessions, by what OVN shows. Pure.

A reroute policy may name BFD rows, and one would think that a next hop whose session is down is
left out. So it is with Kube-OVN's OVN, and with stock OVN if the rows' port is the one that leads
to the next hop. Otherwise stock OVN passes over the rows, without a word in any log, and goes on
sending packets to a dead gateway. What gives it away: a row that nothing heeds stays `admin_down`,
where northd turns one that is heeded to `down`, at once and whether there is a gateway or not. A
gateway that drains does not look like that: its AdminDown, too, shows as `down`.

So the sessions of a port that has shown nothing yet are put to the question, while packets are
dropped: a policy that matches nothing names them. When one leaves `admin_down`, policies it is.
When all stay, static routes by source, which all versions of OVN tie to their sessions.

A static route turns a row to `down`, too. What a row shows while one names it says nothing of
policies, so a port with static routes keeps them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from kube.routes import Way
from kube.rows import Key

PATIENCE_S = 10.0
"""How long a row may stay `admin_down` before that says something: northd takes milliseconds."""
STUB_PATIENCE_S = 30.0
"""How long all sessions with gateways that live may stay `down` before the port gets a switch."""


class Status(StrEnum):
    """What the `status` of a BFD row can be."""

    ADMIN_DOWN = "admin_down"
    DOWN = "down"
    INIT = "init"
    UP = "up"


@dataclass(frozen=True, slots=True)
class Look:
    """A BFD row as it is now. No status: northd has not seen it yet."""

    key: Key
    status: Status | None
    by_policy: bool
    by_route: bool
    """Whether a policy, or a static route, names it."""


@dataclass(frozen=True, slots=True)
class PortHistory:
    """What one port's sessions have shown so far; times in seconds, of a clock that never steps."""

    heeded: bool = False
    """A session that only policies name has left `admin_down`."""
    has_routes: bool = False
    answered: bool = False
    """A gateway has answered: a session was `up` or `init`."""
    asked_s: Mapping[Key, float] = field(default_factory=dict)
    """Since when each session that only policies name has been `admin_down`."""
    down_s: Mapping[Key, float] = field(default_factory=dict)
    """Since when each session has been `down`."""


def saw(history: PortHistory, looks: Iterable[Look], now_s: float) -> PortHistory:
    """The history with a further look at all sessions of the port."""
    asked, down = {}, {}
    heeded, answered, has_routes = history.heeded, history.answered, False
    for look in looks:
        has_routes |= look.by_route
        answered |= look.status in (Status.UP, Status.INIT)
        if look.status is Status.DOWN:
            down[look.key] = history.down_s.get(look.key, now_s)
        if look.by_route or not look.by_policy or look.status is None:
            continue
        if look.status is Status.ADMIN_DOWN:
            asked[look.key] = history.asked_s.get(look.key, now_s)
        else:
            heeded = True
    return replace(
        history,
        heeded=heeded and not has_routes,
        has_routes=has_routes,
        answered=answered,
        asked_s=asked,
        down_s=down,
    )


class Because(StrEnum):
    """Why a way was chosen; the reason of a condition."""

    ORDERED = "Ordered"
    SCHEMA = "NoBfdInPolicies"
    ROUTES = "StaticRoutesInUse"
    HEEDED = "PoliciesHeedBfd"
    IGNORED = "PoliciesIgnoreBfd"
    UNKNOWN = "AskingOvn"


@dataclass(frozen=True, slots=True)
class Choice:
    """The way for all gateways of a port, and why in words."""

    way: Way
    because: Because
    text: str


def choose(
    history: PortHistory, now_s: float, *, has_column: bool, ordered: Way | None = None
) -> Choice:
    """The way to tie next hops to the sessions of a port.

    `has_column`: whether the database has `bfd_sessions` in policies at all (OVN 24.03 and later).
    `ordered`: what an administrator has settled; the last word.
    """
    if ordered is not None:
        return Choice(ordered, Because.ORDERED, f"{ordered} were asked for")
    if not has_column:
        return Choice(
            Way.STATIC_ROUTES,
            Because.SCHEMA,
            "policies of this OVN cannot name BFD sessions (it is older than 24.03): "
            "static routes are used",
        )
    if history.has_routes:
        return Choice(
            Way.STATIC_ROUTES,
            Because.ROUTES,
            "the port's sessions are tied to static routes, and stay so",
        )
    if history.heeded:
        return Choice(Way.POLICIES, Because.HEEDED, "OVN watches the sessions that policies name")
    since = min(history.asked_s.values(), default=now_s)
    if now_s - since >= PATIENCE_S:
        return Choice(
            Way.STATIC_ROUTES,
            Because.IGNORED,
            f"OVN has left the policies' BFD sessions admin_down for {now_s - since:.0f} s, so it "
            "would send packets to a dead gateway: static routes are used instead",
        )
    return Choice(
        Way.TRIAL,
        Because.UNKNOWN,
        "it is not known yet whether OVN heeds BFD in policies; packets are dropped until it is. "
        "If this lasts, look whether ovn-northd runs",
    )


def wants_stub(history: PortHistory, now_s: float, *, has_stub: bool, gateways_live: bool) -> bool:
    """Whether the BFD port gets a switch behind it.

    Stock OVN sends no packet from a port without one. Then every session stays `down` though the
    gateways live (their pods are ready). A port that has its switch keeps it.
    """
    if has_stub or history.answered or not gateways_live or not history.down_s:
        return has_stub
    return now_s - min(history.down_s.values()) >= STUB_PATIENCE_S
