"""The reconciler: makes the kernel look as the specification says, and keeps it so.

Whatever happens (a new specification, a notification of the kernel, time) only sets a flag: "look
again". One attempt observes, compares, applies and observes again. A burst of notifications is
answered once; a failed attempt is repeated with growing pauses; nothing is assumed to have worked.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from dataplane.diff import diff
from dataplane.drift import drift
from dataplane.errors import DataplaneError
from dataplane.kernel import Kernel
from dataplane.model import DataplaneState, GatewayIntent
from dataplane.plan import ApplyReport, NftChange, Plan
from dataplane.render import render
from dataplane.sources import Sources
from dataplane.stale import Judge, local_addresses
from vegd.backoff import Backoff
from vegd.compile import Intent, Waiting, compile  # noqa: A004 - the architecture's word
from vegd.facts import NodeFacts
from vegd.holes import FAMILIES, families_without_path
from vegd.originals import Originals
from vegd.settings import Settings
from vegd.sources.file import SpecSnapshot
from vegd.spec import GatewaySpec

log = logging.getLogger(__name__)

_ROUNDS = 2
_FIGHT_S = 2.0
"""A change by somebody else this soon after a repair looks like a fight."""


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
    forwarded: frozenset[int]
    """The IP versions of which traffic is forwarded and SNATed."""
    generation: int
    """The generation of the specification that was attempted; 0 before the first."""
    reasons: tuple[str, ...] = ()
    """What is waited for, or what failed, in words."""
    intent: Intent | None = None
    """The last intent that could be compiled; it is kept while waiting."""
    fixed: frozenset[str] = frozenset()
    """The kernel parameters that are not as wished, and that this process may not write."""
    is_final: bool = False
    """Whether nothing but these is left to do, so that trying again would not help."""
    revision: int = 0
    """Of the specification that was attempted, as it says itself."""
    moves: int = 0
    """How often links and addresses were changed; neighbours have to hear of that."""


@dataclass(slots=True)
class ReconcileCounters:
    """Since the start of the agent."""

    attempts: int = 0
    failures: int = 0
    operations: Counter[str] = field(default_factory=Counter)
    """Operations that were carried out, by kind of object."""
    repairs: Counter[str] = field(default_factory=Counter)
    """Of these, what undid a change by somebody else, by kind of part (`dataplane.plan.Part`)."""
    forgotten: int = 0
    """Tracked connections that contradicted the policies and were removed."""
    apply_s: float = 0.0
    """Time spent in attempts, in seconds."""


class _Wish(NamedTuple):
    """What a specification comes to on a machine. Many sources take time, so it is made anew only
    when one of the two is another."""

    spec: GatewaySpec
    facts: NodeFacts
    intent: Intent
    sources: Sources
    desired: DataplaneState


class Reconciler:
    """Runs attempts, one at a time. `on_change` is called after each that changed the outcome."""

    def __init__(
        self, kernel: Kernel, settings: Settings, on_change: Callable[[Convergence], None]
    ) -> None:
        self.convergence = Convergence(Phase.STARTING, frozenset(), generation=0)
        self.counters = ReconcileCounters()
        self._stood: DataplaneState | None = None
        """What the kernel was last seen to look like when it was as wished."""
        self._wish: _Wish | None = None
        self._judged: GatewayIntent | None = None
        """What the tracked connections were last compared with."""
        self._originals = Originals(settings.runtime_dir)
        self._kernel = kernel
        self._settings = settings
        self._on_change = on_change
        self._snapshot: SpecSnapshot | None = None
        self._dirty = asyncio.Event()
        self._repaired_at = -_FIGHT_S

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
        # Who undoes our repairs at once is answered ever more slowly, yet within a second.
        calm = Backoff(first=self._settings.debounce_s, most=0.5)
        while True:
            pause = self._settings.resync_s
            if self.convergence.phase is Phase.FAILED and not self.convergence.is_final:
                pause = backoff.wait_s()
            elif self.convergence.phase is not Phase.STARTING:
                backoff.reset()
            try:
                async with asyncio.timeout(pause):
                    await self._dirty.wait()
                fought = time.monotonic() - self._repaired_at < _FIGHT_S
                await asyncio.sleep(calm.wait_s() if fought else self._settings.debounce_s)
                if not fought:
                    calm.reset()
            except TimeoutError:
                pass
            self._dirty.clear()
            snapshot = self._snapshot
            if snapshot is not None and snapshot.spec is not None:
                convergence = await self._attempt(snapshot)
                moves = sum(self.counters.operations[kind] for kind in ("link", "address"))
                revision = snapshot.spec.revision
                self._publish(replace(convergence, moves=moves, revision=revision))

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
        began = time.monotonic()
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
                Phase.FAILED, before.forwarded, snapshot.generation, (reason,), before.intent
            )
        finally:
            self.counters.apply_s += time.monotonic() - began

    async def _converge(self, snapshot: SpecSnapshot) -> Convergence:
        facts = NodeFacts(await self._kernel.interfaces(), await self._kernel.tracking())
        assert snapshot.spec is not None  # noqa: S101 - run() asks first
        wish = self._compile(snapshot.spec, facts)
        if isinstance(wish, Waiting):
            return Convergence(
                Phase.WAITING,
                forwarded=frozenset(),
                generation=snapshot.generation,
                reasons=wish.reasons,
                intent=self.convergence.intent,
            )
        _, _, compiled, sources, desired = wish
        intent = compiled.dataplane
        left, report = await self._carry_out(desired)
        if not left:
            await self._forget(Judge(intent, sources, local_addresses(intent, facts.interfaces)))
            self._stood = desired
            return Convergence(Phase.CONVERGED, FAMILIES, snapshot.generation, intent=compiled)
        return self._failure(snapshot.generation, compiled, report, left)

    async def _carry_out(self, desired: DataplaneState) -> tuple[Plan, ApplyReport]:
        """Make it so; returns what is left to do then. What somebody else has undone meanwhile is
        done once more, before sessions have to go down for it."""
        observed = await self._kernel.observe(desired)
        left, report = diff(observed, desired), ApplyReport((), ())
        for _ in range(_ROUNDS):
            if not left or not report.ok:
                break
            self._originals.note(observed, left)
            report = await self._kernel.apply(left)
            self._count(report, observed)
            if any(isinstance(op.object, NftChange) for op in report.applied):
                self._judged = None
            observed = await self._kernel.observe(desired)
            left = diff(observed, desired)
        return left, report

    def _compile(self, spec: GatewaySpec, facts: NodeFacts) -> _Wish | Waiting:
        if self._wish is None or self._wish.spec is not spec or self._wish.facts != facts:
            compiled = compile(spec, facts)
            if isinstance(compiled, Waiting):
                return compiled
            sources = compiled.dataplane.sources()
            desired = render(compiled.dataplane, sources)
            self._wish = _Wish(spec, facts, compiled, sources, desired)
        return self._wish

    async def _forget(self, judge: Judge) -> None:
        """Forget the connections that contradict the policies, once for each version of them."""
        if judge.subject == self._judged:
            return
        count = await self._kernel.forget(judge)
        self._judged = judge.subject
        self.counters.forgotten += count
        if count:
            log.info("forgot %d tracked connections that contradict the policies", count)

    def _count(self, report: ApplyReport, observed: DataplaneState) -> None:
        repaired = []
        for op in report.applied:
            self.counters.operations[op.kind] += 1
            log.info("applied %s", op, extra={"fields": {"op": str(op)}})
            if self._stood is not None:
                repaired += drift(op, observed, self._stood)
        if not repaired:
            return
        self._repaired_at = time.monotonic()
        self.counters.repairs.update(part.kind for part in repaired)
        log.warning(
            "put right what somebody else had changed: %s",
            "; ".join(str(part) for part in repaired),
            extra={"fields": {"drift": len(repaired)}},
        )

    def _failure(
        self, generation: int, intent: Intent, report: ApplyReport, left: Plan
    ) -> Convergence:
        self.counters.failures += 1
        reasons = tuple(str(error) for _, error in report.failed)
        if not reasons:
            reasons = tuple(f"undone by somebody else: {line}" for line in left.lines())
        stood = self._stood.nft if self._stood else None
        forwarded = FAMILIES - families_without_path(left, stood)
        return Convergence(
            *(Phase.FAILED, forwarded, generation, reasons, intent),
            fixed=report.fixed,
            is_final=len(report.fixed) == len(left.ops),
        )
