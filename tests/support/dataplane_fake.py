"""A kernel in memory that obeys the same contract as the real one (tests/dataplane/test_contract).

It holds objects of ours and of others, refuses what a real kernel refuses (an address on a link
that is not there) and can be told to refuse more.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace

from dataplane.errors import DataplaneError, Refused
from dataplane.kernel import ConntrackUsage, PolicyCounter
from dataplane.model import (
    Address,
    Connection,
    DataplaneState,
    Flow,
    Interface,
    IPAddress,
    Link,
    NftTable,
    Route,
    Rule,
    Shaper,
    Sysctl,
)
from dataplane.plan import ApplyReport, NftChange, Op, Plan
from dataplane.portuse import Census
from dataplane.render import FORWARDING
from dataplane.tracking import NO_TRACKING, TrackingFacts


class FakeKernel:
    """Implements ``dataplane.kernel.Kernel``; ``links`` are there from the start, foreign."""

    def __init__(self, *links: str) -> None:
        self.state = DataplaneState(
            links=frozenset(Link(name, mtu=1500, up=False, owned=False) for name in links)
        )
        self.refusing: set[type] = set()
        self.connections: set[Connection] = set()
        self.announced: list[tuple[str, tuple[IPAddress, ...]]] = []

    async def interfaces(self) -> Mapping[str, Interface]:
        return {
            link.name: Interface(
                link.name,
                place,
                "macvlan" if link.macvlan else None,
                link.up,
                link.mtu or 1500,
                tuple(a.address for a in self.state.addresses if a.interface == link.name),
            )
            for place, link in enumerate(sorted(self.state.links, key=lambda each: each.name), 1)
        }

    async def default_gateways(self) -> tuple[IPAddress, ...]:
        return ()

    async def observe(self, desired: DataplaneState) -> DataplaneState:
        now = self.state
        names = {link.name for link in desired.links}
        paths = {each.path for each in desired.sysctls}
        return replace(
            now,
            links=frozenset(link for link in now.links if link.owned or link.name in names),
            addresses=frozenset(a for a in now.addresses if a.owned or a in desired.addresses),
            rules=frozenset(r for r in now.rules if r.owned or r in desired.rules),
            sysctls=frozenset(s for s in now.sysctls if s.path in paths),
        )

    async def apply(self, plan: Plan) -> ApplyReport:
        outcomes: list[tuple[Op, DataplaneError | None]] = []
        for op in plan.ops:
            opens = isinstance(op.object, Sysctl) and op.object.path in FORWARDING.values()
            wrong = [failed.object for failed, why in outcomes if why]
            unguarded = any(isinstance(each, NftChange) for each in wrong)
            error: DataplaneError | None = None
            if unguarded or (wrong and (opens or op.removes)):
                error = DataplaneError(f"{op.object}: left alone")
            else:
                try:
                    self._carry_out(op)
                except DataplaneError as exc:
                    error = exc
            outcomes.append((op, error))
        return ApplyReport.of(outcomes)

    def _carry_out(self, op: Op) -> None:
        if type(op.object) in self.refusing:
            raise Refused(str(op.object), 1)
        adding = not op.removes
        match op.object:
            case NftChange(after=after):
                self.state = replace(self.state, nft=after)
            case Link() as link:
                self._link(link, adding=adding)
            case Address() as address:
                self._there(address.interface)
                kept = self.state.addresses - {address}
                self.state = replace(self.state, addresses=kept | {address} if adding else kept)
            case Route() as route:
                self._there(route.interface)
                kept_routes = self.state.routes - {route}
                self.state = replace(
                    self.state, routes=kept_routes | {route} if adding else kept_routes
                )
            case Rule() as rule:
                kept_rules = self.state.rules - {rule}
                self.state = replace(
                    self.state, rules=kept_rules | {rule} if adding else kept_rules
                )
            case Shaper() as shaper:
                self._shaper(shaper, adding=adding)
            case Sysctl() as wish:
                others = {each for each in self.state.sysctls if each.path != wish.path}
                self.state = replace(self.state, sysctls=frozenset({*others, wish}))

    def _shaper(self, wish: Shaper, *, adding: bool) -> None:
        self._there(wish.interface)
        others = {each for each in self.state.shapers if each.interface != wish.interface}
        self.state = replace(self.state, shapers=frozenset({*others, wish} if adding else others))

    def _there(self, name: str) -> None:
        if name not in {link.name for link in self.state.links}:
            raise Refused(name, 19)

    def _link(self, wish: Link, *, adding: bool) -> None:
        there = next((link for link in self.state.links if link.name == wish.name), None)
        others = frozenset(link for link in self.state.links if link.name != wish.name)
        if not adding:
            self.state = replace(self.state, links=others)
            return
        if there is None and wish.macvlan is None:
            raise Refused(str(wish), 19)
        if wish.macvlan is not None:
            self._there(wish.macvlan.parent)
        owned = there.owned if there else True
        mtu = wish.mtu or (there.mtu if there else 1500)
        mac = wish.mac or (there.mac if there else None)
        made = replace(wish, mtu=mtu, mac=mac, owned=owned)
        self.state = replace(self.state, links=others | {made})

    async def rehearse(self, table: NftTable) -> None:
        """Nothing to refuse."""

    async def changes(self) -> AsyncIterator[None]:
        yield None

    async def counters(self) -> tuple[PolicyCounter, ...]:
        return ()

    async def census(self) -> Census:
        return Census(0, 0, ())

    async def conntrack(self) -> ConntrackUsage:
        return ConntrackUsage(0, 0)

    async def tracking(self) -> TrackingFacts:
        return NO_TRACKING

    async def flows(self, is_wanted: Callable[[Connection], bool]) -> list[Flow]:
        return [Flow(each, 0, 0, 0, 0) for each in self.connections if is_wanted(each)]

    async def forget(self, is_stale: Callable[[Connection], bool]) -> int:
        stale = {each for each in self.connections if is_stale(each)}
        self.connections -= stale
        return len(stale)

    async def neighbour_answers(self, interface: str, _: object, timeout_s: float) -> bool:
        return interface in {link.name for link in self.state.links} and timeout_s > 0

    async def announce(self, interface: str, addresses: Sequence[IPAddress]) -> None:
        if interface not in {link.name for link in self.state.links}:
            raise Refused(f"announcement on {interface}", 19)
        self.announced.append((interface, tuple(addresses)))

    async def aclose(self) -> None:
        """Nothing to close."""
