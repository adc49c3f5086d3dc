"""The reconciler: makes the kernel look as the specification says, and keeps it so.

Whatever happens (a new specification, a notification of the kernel, time) only sets a flag: "look
again". One attempt observes, compares, applies and observes again. A burst of notifications is
answered once; a failed attempt is repeated with growing pauses; nothing is assumed to have worked.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from dataplane.diff import diff
from dataplane.errors import DataplaneError
from dataplane.kernel import Kernel
from dataplane.plan import ApplyReport, Plan
from dataplane.render import render
from vegd.backoff import Backoff
from vegd.compile import Intent, Waiting, compile  # noqa: A004 - the architecture's word
from vegd.facts import NodeFacts
from vegd.settings import Settings
from vegd.sources.file import SpecSnapshot

log = logging.getLogger(__name__)


class Phase(StrEnum):
    """How far the dataplane is."""

    STARTING = "starting"
    WAITING = "waiting"
    """For something that others bring, such as an interface; nothing of the kernel is changed."""
    CONVERGED = "converged"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Convergence:
    """What the last attempt has come to."""

    phase: Phase
    forwarding: bool
    """Whether traffic is forwarded and SNATed as the specification says."""
    generation: int
    """The generation of the specification that was attempted; 0 before the first."""
    reasons: tuple[str, ...] = ()
    """What is waited for, or what failed, in words."""
    intent: Intent | None = None
    """The last intent that could be compiled; it is kept while waiting."""


@dataclass(slots=True)
class ReconcileCounters:
    """Since the start of the agent."""

    attempts: int = 0
    failures: int = 0
    operations: dict[str, int] = field(default_factory=dict)
    """Operations that were carried out, by kind of object."""


class Reconciler:
    """Runs attempts, one at a time. `on_change` is called after each that changed the outcome."""

    def __init__(
        self, kernel: Kernel, settings: Settings, on_change: Callable[[Convergence], None]
    ) -> None:
        self.convergence = Convergence(Phase.STARTING, forwarding=False, generation=0)
        self.counters = ReconcileCounters()
        self._kernel = kernel
        self._settings = settings
        self._on_change = on_change
        self._snapshot: SpecSnapshot | None = None
        self._dirty = asyncio.Event()

    def want(self, snapshot: SpecSnapshot) -> None:
        """A specification has come: make it so."""
        self._snapshot = snapshot
        self._dirty.set()

    def look_again(self) -> None:
        """Something may have changed."""
        self._dirty.set()

    async def run(self) -> None:
        """Attempt whenever there is a reason to, for ever."""
        backoff = Backoff(first=0.2, most=5.0)
        while True:
            pause = self._settings.resync_s
            if self.convergence.phase is Phase.FAILED:
                pause = backoff.wait_s()
            elif self.convergence.phase is not Phase.STARTING:
                backoff.reset()
            try:
                async with asyncio.timeout(pause):
                    await self._dirty.wait()
                await asyncio.sleep(self._settings.debounce_s)
            except TimeoutError:
                pass
            self._dirty.clear()
            if self._snapshot is not None and self._snapshot.spec is not None:
                self._publish(await self._attempt(self._snapshot))

    def _publish(self, convergence: Convergence) -> None:
        before, self.convergence = self.convergence, convergence
        if convergence == before:
            return
        if (convergence.phase, convergence.reasons) != (before.phase, before.reasons):
            level = logging.INFO if convergence.phase is Phase.CONVERGED else logging.WARNING
            why = f": {'; '.join(convergence.reasons)}" if convergence.reasons else ""
            log.log(
                level,
                "dataplane %s%s",
                convergence.phase.value,
                why,
                extra={"fields": {"generation": convergence.generation}},
            )
        self._on_change(convergence)

    async def _attempt(self, snapshot: SpecSnapshot) -> Convergence:
        self.counters.attempts += 1
        try:
            async with asyncio.timeout(self._settings.attempt_timeout_s):
                return await self._converge(snapshot)
        except (DataplaneError, TimeoutError, OSError) as exc:
            self.counters.failures += 1
            reason = (
                str(exc) or f"the kernel did not answer in {self._settings.attempt_timeout_s} s"
            )
            # Nothing is known of the kernel now; what stood before most likely still stands.
            before = self.convergence
            return Convergence(
                Phase.FAILED, before.forwarding, snapshot.generation, (reason,), before.intent
            )

    async def _converge(self, snapshot: SpecSnapshot) -> Convergence:
        facts = NodeFacts(await self._kernel.interfaces())
        assert snapshot.spec is not None  # noqa: S101 - run() asks first
        compiled = compile(snapshot.spec, facts)
        if isinstance(compiled, Waiting):
            return Convergence(
                Phase.WAITING,
                forwarding=False,
                generation=snapshot.generation,
                reasons=compiled.reasons,
                intent=self.convergence.intent,
            )
        desired = render(compiled.dataplane)
        plan = diff(await self._kernel.observe(desired), desired)
        if not plan:
            return Convergence(
                Phase.CONVERGED,
                forwarding=True,
                generation=snapshot.generation,
                intent=compiled,
            )
        report = await self._kernel.apply(plan)
        self._count(report)
        left = diff(await self._kernel.observe(desired), desired)
        return self._judge(snapshot.generation, compiled, report, left)

    def _count(self, report: ApplyReport) -> None:
        for op in report.applied:
            kind = op.kind
            self.counters.operations[kind] = self.counters.operations.get(kind, 0) + 1
            log.info("applied %s", op, extra={"fields": {"op": str(op)}})

    def _judge(
        self, generation: int, intent: Intent, report: ApplyReport, left: Plan
    ) -> Convergence:
        if not left:
            return Convergence(
                Phase.CONVERGED, forwarding=True, generation=generation, intent=intent
            )
        self.counters.failures += 1
        reasons = tuple(str(error) for _, error in report.failed)
        if not reasons:
            reasons = tuple(f"undone by somebody else: {line}" for line in left.lines())
        # Something of ours that could not be removed is untidy; something missing is a hole.
        forwarding = all(op.removes for op in left.ops)
        return Convergence(Phase.FAILED, forwarding, generation, reasons, intent)
