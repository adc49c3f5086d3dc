"""The real kernel: netlink and nftables together, in the network namespace of the process."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Self

from dataplane import census, conntrack, ruleset, tracking
from dataplane.announce import announce
from dataplane.connections import flows, forget
from dataplane.errors import DataplaneError, PermissionDenied
from dataplane.kernel import ConntrackUsage, PolicyCounter
from dataplane.model import Connection, DataplaneState, Flow, Interface, IPAddress, NftTable, Sysctl
from dataplane.monitor import changes, routing_watch
from dataplane.neighbours import Neighbours
from dataplane.netlink import Netlink
from dataplane.nfnetlink import Channel
from dataplane.nftables import Nftables
from dataplane.plan import ApplyReport, NftChange, Op, Plan
from dataplane.portuse import Census
from dataplane.render import FORWARDING
from dataplane.sysctls import read_sysctl, read_sysctls
from dataplane.tracking import TrackingFacts

_CAP_NET_ADMIN = 12
_SYSCTL_POLL_S = 0.5
"""The kernel tells of few changed parameters (netconf: forwarding, rp_filter and some others), so
all of them are read this often: 12 files, 0.15 ms."""
_BELIEVE_S = 10.0
"""A dump of links, addresses, routes and rules takes 20 ms; this often is enough to be sure."""


class LinuxKernel:
    """Implements `dataplane.kernel.Kernel`."""

    def __init__(self, netlink: Netlink, nftables: Nftables) -> None:
        self._netlink = netlink
        self._nftables = nftables
        self._neighbours: Neighbours | None = None
        self._watched: frozenset[Sysctl] = frozenset()
        """The kernel parameters of the newest wish."""
        self._news = routing_watch()
        self._believed_until = 0.0
        self._interfaces: Mapping[str, Interface] | None = None
        self._observed: tuple[DataplaneState, DataplaneState] | None = None
        """A wish, and what was observed for it: both without parameters and nftables."""

    @classmethod
    async def open(cls) -> Self:
        """Get hold of the kernel of this network namespace; nothing is changed.

        Raises:
            PermissionDenied: CAP_NET_ADMIN is missing.
            NftablesMissing: libnftables or its binding is missing.
        """
        _require_net_admin()
        nftables = Nftables()
        try:
            return cls(Netlink(), nftables)
        except BaseException:
            nftables.close()
            raise

    async def aclose(self) -> None:
        """Close sockets; the kernel is left as it is."""
        if self._neighbours is not None:
            self._neighbours.close()
        self._news.close()
        self._nftables.close()
        self._netlink.close()

    async def interfaces(self) -> Mapping[str, Interface]:
        """All interfaces by name."""
        self._doubt()
        if self._interfaces is None:
            self._interfaces = self._netlink.interfaces()
        return self._interfaces

    async def default_gateways(self) -> tuple[IPAddress, ...]:
        """The next hops of the default routes of the main table, the preferred first."""
        return self._netlink.default_gateways()

    async def observe(self, desired: DataplaneState) -> DataplaneState:
        """What is ours, and what `desired` names. What was dumped before is believed as long as
        the kernel tells of no change, but not for ever; parameters are read each time."""
        self._watched = desired.sysctls
        self._doubt()
        wish = replace(desired, sysctls=frozenset(), nft=None)
        if self._observed is None or self._observed[0] != wish:
            self._observed = wish, self._netlink.observe(wish)
        return replace(
            self._observed[1],
            sysctls=read_sysctls(desired.sysctls),
            nft=await self._nftables.table(),
        )

    def _doubt(self) -> None:
        """Forget what was dumped if it may be outdated. News during a dump is heard by the next."""
        now = time.monotonic()
        if self._news.touched() or now >= self._believed_until:
            self._interfaces = self._observed = None
            self._believed_until = now + _BELIEVE_S

    async def apply(self, plan: Plan) -> ApplyReport:
        """Carry out a plan; see `dataplane.kernel.Kernel.apply`."""
        outcomes: list[tuple[Op, DataplaneError | None]] = []
        failed = unguarded = False
        for op in plan.ops:
            if unguarded or (failed and (op.removes or _opens_forwarding(op))):
                # What was to take its place may be missing, or the rules that make it safe.
                error: DataplaneError | None = DataplaneError(
                    f"{op.object}: left alone, because something before it failed"
                )
            else:
                error = await self._attempt(op)
                unguarded = error is not None and isinstance(op.object, NftChange)
            # A parameter that can never be set keeps nothing else from being done.
            failed = failed or (error is not None and not error.is_final)
            outcomes.append((op, error))
        return ApplyReport.of(outcomes)

    async def _attempt(self, op: Op) -> DataplaneError | None:
        try:
            if isinstance(op.object, NftChange):
                await self._nftables.change(op.object.before, op.object.after)
            else:
                self._netlink.apply(op)
        except DataplaneError as exc:
            return exc
        return None

    async def rehearse(self, table: NftTable) -> None:
        """Have the kernel judge a table, and change nothing."""
        await self._nftables.rehearse(table)

    async def changes(self) -> AsyncIterator[None]:
        """Yields when links, addresses, routes, rules, parameters or rulesets have changed."""
        dirty = asyncio.Event()

        async def follow(source: AsyncIterator[None]) -> None:
            async for _ in source:
                dirty.set()

        # No task group: a generator that is closed while it waits would break it (PEP 789).
        followers = [
            asyncio.create_task(follow(changes(routing_watch))),
            asyncio.create_task(follow(self._nftables.changes())),
            asyncio.create_task(follow(self._sysctl_changes())),
        ]
        for follower in followers:
            follower.add_done_callback(lambda _: dirty.set())
        try:
            while True:
                await dirty.wait()
                dirty.clear()
                for follower in followers:
                    if follower.done():
                        # It follows for ever, so it has failed; the caller is to know.
                        follower.result()
                yield
        finally:
            for follower in followers:
                follower.cancel()
            await asyncio.gather(*followers, return_exceptions=True)

    async def _sysctl_changes(self) -> AsyncIterator[None]:
        """Yields when a parameter is no longer as wished, or is again; once, if it stays so."""
        before: set[tuple[str, str | None]] = set()
        while True:
            now = {(each.path, read_sysctl(each.path), each.value) for each in self._watched}
            wrong = {(path, value) for path, value, wish in now if value != wish}
            if wrong != before:
                yield
            before = wrong
            await asyncio.sleep(_SYSCTL_POLL_S)

    async def counters(self) -> tuple[PolicyCounter, ...]:
        """The counters of all policies."""
        return ruleset.policy_counters(self._nftables.counters())

    async def tracking(self) -> TrackingFacts:
        """The parameters of connection tracking as they are."""
        return tracking.facts()

    async def forget(self, is_stale: Callable[[Connection], bool]) -> int:
        """Remove the tracked connections of which that is said; returns their number."""
        with Channel() as channel:
            return await asyncio.to_thread(forget, channel, is_stale)

    async def flows(self, is_wanted: Callable[[Connection], bool]) -> list[Flow]:
        """The tracked connections of which that is said, with what has passed."""
        with Channel() as channel:
            return await asyncio.to_thread(flows, channel, is_wanted)

    async def conntrack(self) -> ConntrackUsage:
        """How full the connection table is."""
        with Channel() as channel:
            return conntrack.usage(channel)

    async def census(self) -> Census:
        """Count the tracked connections and the ports in use."""
        with Channel() as channel:
            return await asyncio.to_thread(census.take, channel)

    async def neighbour_answers(self, interface: str, address: IPAddress, timeout_s: float) -> bool:
        """Whether a host on the link answers ARP or neighbour discovery in time."""
        if self._neighbours is None:
            self._neighbours = Neighbours()
        return await self._neighbours.answers(interface, address, timeout_s)

    async def announce(self, interface: str, addresses: Sequence[IPAddress]) -> None:
        """Tell the neighbours on the link once that the interface has these addresses."""
        router = read_sysctl(f"net/ipv6/conf/{interface}/forwarding") == "1"
        await asyncio.to_thread(announce, interface, addresses, router=router)


def _opens_forwarding(op: Op) -> bool:
    return getattr(op.object, "path", None) in FORWARDING.values()


def _require_net_admin() -> None:
    with open(f"/proc/{os.getpid()}/status", encoding="ascii") as status:  # noqa: PTH123
        fields = dict(line.rstrip("\n").partition(":\t")[::2] for line in status)
    if int(fields["CapEff"], 16) >> _CAP_NET_ADMIN & 1:
        return
    text = "CAP_NET_ADMIN is missing; run as root, or give the process that capability"
    if fields.get("NoNewPrivs") == "1" and int(fields["CapBnd"], 16) >> _CAP_NET_ADMIN & 1:
        text = (
            "CAP_NET_ADMIN is missing: the container has it, but no_new_privs keeps a user who is "
            "not root from using it; set allowPrivilegeEscalation: true"
        )
    raise PermissionDenied(text)
