"""The composition root of the node side: what runs, in which order it starts and how it ends.

Start: lock, kernel, sockets, engine, then the loops. Nothing of the kernel is touched before all of
that is there, so a daemon that cannot run leaves the machine as it found it. The loops share no
state but the last outcome of each: specification, convergence, engine snapshot.

End of `vegd run` (SIGTERM, Ctrl-C): AdminDown to all peers, while the kernel and the reconciler go
on until the drain is over; then the external addresses are given up, and all else is left as it is:
what stands guards against un-SNATed packets, and `vegd clean` removes it. End of `vegd agent`: at
once; the engine, which is not its child, keeps on.
"""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator, Awaitable
from typing import Protocol, TypeVar

from bfd.config import SessionConfig
from bfd.notify import notify, reloading
from bfd.snapshot import EngineSnapshot
from dataplane import statistics
from dataplane.errors import DataplaneError
from dataplane.kernel import Kernel
from dataplane.linux import LinuxKernel
from dataplane.model import GatewayIntent
from dataplane.statistics import InterfaceStatistics
from vegd import gate, limits, lock
from vegd.announcer import Announcer, presence
from vegd.census import CensusTaker
from vegd.control import Convergence, Phase, Reconciler
from vegd.drain import Drain, give_up_addresses
from vegd.errors import VegdError
from vegd.gate import Gate, Gates
from vegd.http import Pages, serve_control, serve_tcp
from vegd.metrics import Reading
from vegd.paths import Paths
from vegd.sessions import Sessions
from vegd.settings import Settings
from vegd.sources.file import FileSource, SpecSnapshot
from vegd.sources.followed import TwoFiles
from vegd.spec import Drain as DrainSpec
from vegd.status import GatewayStatus, Parts, fold
from vegd.supervise import Supervisor
from vegd.watching import contact
from vegd.watching.child import WatcherChild

log = logging.getLogger(__name__)

T = TypeVar("T")

_HEAD_START_S = 10.0
_CENSUS_S = 30.0
"""A status does not count all connections each time."""


class Source(Protocol):
    """Where the specification comes from, after the first."""

    def reload(self) -> None:
        """Yield it again, even if it has not changed."""
        ...

    def snapshots(self) -> AsyncIterator[SpecSnapshot]:
        """What is new, for ever."""
        ...


class Agent:
    """One gateway. `kernel` and `source` are handed in and closed by whoever made them."""

    def __init__(
        self,
        settings: Settings,
        kernel: Kernel,
        source: Source,
        first: SpecSnapshot,
        supervisor: Supervisor | None,
        watcher: WatcherChild | None = None,
    ) -> None:
        self._runtime_dir = settings.runtime_dir
        self._kernel = kernel
        self._source = source
        self._snapshot = first
        self._supervisor = supervisor
        self._watcher = watcher
        self._chosen: tuple[SessionConfig, ...] | None = None
        """Sessions in place of those of the specification."""
        self._leaving = False
        """SIGTERM has come: the engine is on its way out and takes no orders."""
        self._ready = asyncio.Event()
        """It has been ready once."""
        self._revision: int | None = None
        """Of the configuration that was last carried out, in the kernel and by the engine."""
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()
        self.reconciler = Reconciler(kernel, settings, self._converged)
        self.sessions = Sessions(settings, self._announce)
        self.drain = Drain(settings.runtime_dir, kernel.counters)
        self.paths = Paths(kernel, self._tell_engine)
        self.census = CensusTaker(kernel)
        self.announcer = Announcer(kernel)
        self.pages = Pages(self.read, self.status, self._ask_drain, self.path_words)

    def choose_sessions(self, sessions: tuple[SessionConfig, ...]) -> None:
        """From now on these, in place of those of the specification."""
        self._chosen = sessions
        self._tell_engine()

    async def run(self) -> None:
        """Serve until a signal, then leave in order."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        if self._supervisor is not None:
            await self._supervisor.start()
        await self._work()
        spec = self._snapshot.spec
        if self._leaving and spec is not None and not spec.drain.keep_addresses:
            await give_up_addresses(self._kernel, spec.external.interface)

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(self._follow_source(), name="source"),
                tasks.create_task(self._follow_kernel(), name="kernel"),
                tasks.create_task(self.reconciler.run(), name="reconciler"),
                tasks.create_task(self.sessions.run(), name="sessions"),
                tasks.create_task(self.drain.watch(), name="drain"),
                tasks.create_task(self.paths.run(), name="probes"),
                tasks.create_task(self.census.run(), name="census"),
                tasks.create_task(self.announcer.run(), name="announcer"),
                tasks.create_task(self._watch_cluster(), name="watcher"),
            ]
            watchdog = (
                tasks.create_task(self._supervisor.run(), name="engine")
                if self._supervisor
                else None
            )
            await self._stop.wait()
            notify("STOPPING=1")
            if self._supervisor is not None:
                if watchdog is not None:
                    watchdog.cancel()
                await self._leave(self._supervisor)
            for task in background:
                task.cancel()

    async def status(self) -> GatewayStatus:
        """The gateway as it is now, in short; a watcher asks every second."""
        return fold(await self._parts(_CENSUS_S))

    async def _parts(self, census_s: float = 0.0) -> Parts:
        engine = await self.sessions.refresh()
        return Parts(
            snapshot=self._snapshot,
            convergence=self.reconciler.convergence,
            gates=self._gates(),
            engine=engine,
            engine_reasons=self._engine_reasons(engine),
            conntrack=await _figure(self._kernel.conntrack(), None),
            drain=self.drain,
            paths=tuple(self.paths.paths.values()),
            revision=self._revision,
            census=await self.census.newest(census_s),
            contact_age_s=contact.age_s(self._runtime_dir),
        )

    async def read(self) -> Reading:
        """The gateway as it is now, with every figure, for a scrape."""
        parts = await self._parts()
        return Reading(
            status=fold(parts),
            reconciles=self.reconciler.counters,
            announcements=self.announcer.sent,
            failed_announcements=self.announcer.failures,
            engine=parts.engine,
            engine_restarts=self._supervisor.restarts if self._supervisor else 0,
            policies=await _figure(self._kernel.counters(), ()),
            conntrack=parts.conntrack,
            paths=parts.paths,
            census=parts.census,
            intent=self._intent(),
            interfaces=self._interfaces(),
            fixed=self.reconciler.convergence.fixed,
        )

    def _intent(self) -> GatewayIntent | None:
        intent = self.reconciler.convergence.intent
        return None if intent is None else intent.dataplane

    def _interfaces(self) -> tuple[InterfaceStatistics, ...]:
        intent = self._intent()
        if intent is None:
            return ()
        return statistics.read([intent.internal.interface, intent.external.interface])

    def _gates(self) -> Gates:
        return gate.decide(
            self.reconciler.convergence,
            draining=self.drain.active,
            withdrawn=self.paths.withdrawn,
        )

    def path_words(self) -> dict[str, str]:
        """For siblings: ``up`` for a family that is in use and reaches the outside."""
        paths = self.paths.paths
        return {
            f"ipv{version}": paths[version].word if position is Gate.OPEN else position.value
            for version, position in self._gates().items()
        }

    def _engine_reasons(self, engine: EngineSnapshot | None) -> tuple[str, ...]:
        spec = self._snapshot.spec
        if self._leaving or spec is None or (spec.bfd is None and self._chosen is None):
            return ()
        if engine is None:
            return ("the BFD engine does not answer",)
        if self.sessions.refusal:
            return (f"the BFD engine refuses the sessions: {self.sessions.refusal}",)
        if not self.sessions.in_step:
            return ("the BFD engine was not yet given its sessions",)
        return engine.key_faults if self.sessions.wait_for_keys else ()

    def _converged(self, convergence: Convergence) -> None:
        spec = self._snapshot.spec
        if convergence.intent is not None and spec is not None:
            self.paths.want(spec.probes, convergence.intent.dataplane.external)
        self._tell_engine()
        self._tell_neighbours()
        self._announce()

    def _tell_neighbours(self) -> None:
        spec = self._snapshot.spec
        is_here = spec is not None and not self.drain.active
        convergence = self.reconciler.convergence
        self.announcer.want(
            presence(convergence, spec.external.announce) if spec and is_here else None
        )

    def _tell_engine(self) -> None:
        """Something has changed that sessions depend on: tell the engine, through the gate."""
        convergence, gates = self.reconciler.convergence, self._gates()
        if self._leaving or Gate.UNKNOWN in gates.values():
            return
        if convergence.intent is not None:
            sessions = convergence.intent.sessions if self._chosen is None else self._chosen
            wanted = gate.through(gates, sessions)
            invitations = gate.invited(gates, convergence.intent.invitations)
            self.sessions.want(wanted, convergence.generation, invitations)
        elif convergence.phase is not Phase.STARTING:
            # Nothing is known that could forward: no session of an earlier agent may stay Up.
            self.sessions.want((), convergence.generation)

    def _announce(self) -> None:
        self._note_revision()
        forwards = bool(self.reconciler.convergence.forwarded)
        if self._ready.is_set() or not forwards or not self.sessions.in_step:
            return
        self._ready.set()
        log.info("the gateway is ready")
        notify("READY=1")

    def _note_revision(self) -> None:
        convergence = self.reconciler.convergence
        # The engine is told by what has converged: until it holds that, its timers are of before.
        if convergence.phase is Phase.CONVERGED and not self._engine_reasons(
            self.sessions.snapshot
        ):
            self._revision = convergence.revision

    async def _ask_drain(self, drained: bool) -> None:
        """`vegd drain` and `vegd undrain`."""
        if drained != self.drain.active:
            log.warning("%s by hand", "draining" if drained else "the drain is ended")
        self.drain.ask(drained=drained)
        self._tell_engine()
        self._tell_neighbours()

    async def _follow_source(self) -> None:
        self._take(self._snapshot)
        async for snapshot in self._source.snapshots():
            self._take(snapshot)
            notify("READY=1")

    def _take(self, snapshot: SpecSnapshot) -> None:
        for fault in snapshot.faults:
            log.error("%s: %s", snapshot.faulty or snapshot.path, fault)
        for warning in snapshot.warnings:
            log.warning("%s: %s", snapshot.path, warning)
        before, after = self._snapshot.spec, snapshot.spec
        if before is not None and after is not None and before.metrics != after.metrics:
            log.warning("metrics.listen has changed; the new address is used after a restart")
        if snapshot.generation != self._snapshot.generation:
            log.info("configuration generation %d is in force", snapshot.generation)
        self._snapshot = snapshot
        self.reconciler.want(snapshot)

    async def _watch_cluster(self) -> None:
        """The watcher comes last: until the gateway is there the processor is the gateway's. One
        that waits may wait for what the watcher brings."""
        if self._watcher is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_HEAD_START_S):
                    await self._ready.wait()
            await self._watcher.run()

    async def _follow_kernel(self) -> None:
        async for _ in self._kernel.changes():
            self.reconciler.look_again()

    async def _leave(self, supervisor: Supervisor) -> None:
        """AdminDown, perhaps after a while; forward on until the drain is over; end the engine."""
        self._leaving = True
        spec = self._snapshot.spec
        wanted = spec.drain if spec else DrainSpec()
        if wanted.announce_after:
            log.info("told to end: AdminDown follows in %d s", wanted.announce_after)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wanted.announce_after):
                await self._stop_now.wait()
        self.drain.begin()
        self._tell_neighbours()
        longest_s = _longest_detection_s(await self.sessions.refresh())
        if await self.sessions.drain():
            log.info("draining: sessions are AdminDown, forwarding goes on")
        else:
            log.error("draining without the BFD engine: peers will notice by their detection time")
        reason = await self.drain.finish(wanted, self._stop_now)
        await supervisor.stop(within_s=longest_s + 5)
        log.info("drained after %.1f s: %s", self.drain.lasts_s, reason)

    def _on_stop(self) -> None:
        if self._stop.is_set():
            self._stop_now.set()
        self._stop.set()

    def _on_hangup(self) -> None:
        reloading()
        self._source.reload()


async def _figure(asked: Awaitable[T], otherwise: T) -> T:
    """What the kernel answers, or something else if it does not."""
    try:
        return await asked
    except (DataplaneError, OSError) as exc:
        log.warning("the kernel's counters cannot be read: %s", exc)
        return otherwise


def _longest_detection_s(engine: EngineSnapshot | None) -> float:
    """How long the engine may take to drain: the slowest peer's detection time, in seconds."""
    detection_us = [
        each.config.detect_mult * each.tx_interval_us
        for each in (engine.sessions if engine else ())
    ]
    return max(detection_us, default=0) / 1_000_000


async def run_agent(
    settings: Settings, *, with_engine: bool, followed: bool = False, with_watcher: bool = False
) -> None:
    """Run one gateway until a signal; with an engine of its own, or beside one. `followed` is for
    what a watcher brings besides `settings.config`, be it a child or in another container.

    Raises:
        VegdError: it cannot run; the message says why in one line.
    """
    if with_engine:
        limits.complain()
    source = (
        TwoFiles(settings.config, settings.followed)
        if followed or with_watcher
        else FileSource(settings.config)
    )
    first = await source.first()
    held: socket.socket = lock.hold()
    with contextlib.closing(held):
        settings.runtime_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            kernel = await LinuxKernel.open()
        except DataplaneError as exc:
            raise VegdError(str(exc)) from exc
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(kernel.aclose)
            supervisor = Supervisor(settings) if with_engine else None
            watcher = WatcherChild(settings) if with_watcher else None
            if watcher is not None:
                stack.push_async_callback(watcher.stop)
            agent = Agent(settings, kernel, source, first, supervisor, watcher)
            assert first.spec is not None  # noqa: S101 - first() raises without one
            listen = first.spec.metrics.listen
            await stack.enter_async_context(serve_tcp(agent.pages, listen.host, listen.port))
            await stack.enter_async_context(serve_control(agent.pages, settings.agent_socket))
            await agent.run()
