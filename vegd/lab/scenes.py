"""The scenes of the demo: what is done to the lab, and what must be seen.

Each scene is a period of the probing with a check. Times are CLOCK_MONOTONIC, as everywhere in the
lab. A scene that cannot be played at all raises SceneFailed; one that shows the wrong thing gets a
reason in its result.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from vegd.lab import events, faults
from vegd.lab.errors import LabError, SceneFailed
from vegd.lab.flows import FlowRecord, fetch_all, longest_outage_ms
from vegd.lab.lab import PATH_DOWN_MS, Lab
from vegd.lab.report import SceneResult
from vegd.lab.state import poll_until
from vegd.lab.topology import Family, Gateway, RouterKind

_SETTLE_S = 2.0
_DETECT_S = 10.0
_EXIT_S = 60.0
_SLACK_MS = 250.0
"""What an outage may be longer than the detection time before the scene fails; the figures that we
promise are tighter and are medians, this is about one run on a busy machine."""
_OVN_LATE_MS = 5000.0
"""How late OVN may act on AdminDown; see `drain.forwardFor` in docs/configuration.md."""
_REROUTE_S = 0.1
"""How long after the end of a session OVN may still exchange its flows for the next hop; 15 to
20 ms were measured on an idle machine."""


@dataclass(frozen=True, slots=True)
class Played:
    """A scene that was played, to be judged when the probes are in."""

    name: str
    start: float
    end: float
    judge: Callable[[Family, list[FlowRecord]], SceneResult]


class Stage:
    """Plays scenes on a lab, one after the other."""

    def __init__(self, lab: Lab, tell: Callable[[str], None]) -> None:
        self._lab = lab
        self._tell = tell
        self.played: list[Played] = []

    def sessions_up(self) -> None:
        """Every session of the router is Up; played before the probes start."""
        begin = time.monotonic()
        self._tell("sessions come up")
        self._wait_up(self._lab.topology.gateways)
        end = time.monotonic()
        up_ms = round((end - begin) * 1000)
        self._tell(f"all sessions Up after {up_ms} ms")
        self.played.append(Played("up", begin, begin, _nothing_sent("up")))

    def reach(self) -> None:
        """The outside is reached through every gateway, with the gateways' addresses."""
        begin = time.monotonic()
        self._tell("clients reach the outside through every gateway")
        seen = fetch_all(self._lab)
        time.sleep(_SETTLE_S)
        self._add("reach", begin, lambda family, flows: self._judge_reach(seen, family, flows))

    def cut(self, gateway: Gateway) -> None:
        """Every packet of a gateway is dropped, its links stay up; traffic recovers."""
        self._tell(f"{gateway.name} is cut off")
        begin = time.monotonic()
        faults.cut(gateway)
        self._wait_down(gateway)
        time.sleep(_SETTLE_S)
        self._add(
            "cut",
            begin,
            lambda family, flows: self._judge_cut(
                "cut", gateway, begin, self._lab.options.detection_time_ms, family, flows
            ),
        )

    def heal(self, gateway: Gateway) -> None:
        """The gateway returns, and nothing is lost by that."""
        self._tell(f"{gateway.name} is connected again")
        begin = time.monotonic()
        faults.heal(gateway, self._lab.topology)
        self._wait_up((gateway,))
        time.sleep(_SETTLE_S)
        self._add("heal", begin, self._lossless("heal", back=gateway))

    def cut_upstream(self, gateway: Gateway) -> None:
        """The world behind a gateway dies; its probes notice, and traffic moves to the others."""
        self._tell(f"the upstream of {gateway.name} dies behind it")
        begin = time.monotonic()
        faults.cut_upstream(gateway, self._lab.topology)
        self._wait_down(gateway)
        time.sleep(_SETTLE_S)
        limit = PATH_DOWN_MS + (_OVN_LATE_MS if self._is_ovn else 0)
        self._add(
            "upstream",
            begin,
            lambda family, flows: self._judge_cut("upstream", gateway, begin, limit, family, flows),
        )

    def heal_upstream(self, gateway: Gateway) -> None:
        """The world behind the gateway is back, and nothing is lost by its return."""
        self._tell(f"the upstream of {gateway.name} is back")
        begin = time.monotonic()
        faults.heal(gateway, self._lab.topology)
        self._wait_up((gateway,))
        time.sleep(_SETTLE_S)
        self._add("upstream back", begin, self._lossless("upstream back", back=gateway))

    def stop(self, gateway: Gateway) -> None:
        """The daemon gets SIGTERM; not one probe is lost."""
        self._tell(f"{gateway.name} is stopped (SIGTERM)")
        begin = time.monotonic()
        faults.stop(gateway, self._lab.state, _EXIT_S)
        self._wait_down(gateway)
        self._add("drain", begin, self._lossless("drain", fault_at=begin, gone=gateway))

    def start(self, gateway: Gateway) -> None:
        """The daemon is started again, and nothing is lost by that."""
        self._tell(f"{gateway.name} is started again")
        begin = time.monotonic()
        faults.start(gateway, self._lab.state)
        self._wait_up((gateway,))
        time.sleep(_SETTLE_S)
        self._add("return", begin, self._lossless("return", back=gateway))

    def _add(
        self,
        name: str,
        begin: float,
        judge: Callable[[Family, list[FlowRecord]], SceneResult],
    ) -> None:
        self.played.append(Played(name, begin, time.monotonic(), judge))

    def _wait_up(self, gateways: tuple[Gateway, ...]) -> None:
        try:
            self._lab.wait_up(gateways)
        except LabError as exc:
            raise SceneFailed(str(exc)) from exc

    def _wait_down(self, gateway: Gateway) -> None:
        for _ in poll_until(_DETECT_S):
            newest = events.newest(self._lab.event_directory)
            if not any(newest[gateway.name, family.value].is_up for family in Family):
                return
        raise SceneFailed(f"the router still uses {gateway.name} after {_DETECT_S:g} s")

    def _detection_ms(self, gateway: Gateway, family: Family, since: float) -> float | None:
        for event in events.read(self._lab.event_directory):
            mine = (event.gateway, event.family) == (gateway.name, family.value)
            if mine and event.at >= since and not event.is_up:
                return round((event.at - since) * 1000, 1)
        return None

    def _judge_reach(
        self, seen: dict[str, str | None], family: Family, flows: list[FlowRecord]
    ) -> SceneResult:
        allowed = {each.external_address(family) for each in self._lab.topology.gateways}
        answers = {
            source: address for source, address in seen.items() if Family.of(source) is family
        }
        reason = ""
        silent = sorted(source for source, address in answers.items() if address is None)
        foreign = sorted(f"{a} for {s}" for s, a in answers.items() if a and a not in allowed)
        used = {address for flow in flows for address in flow.by if address}
        if silent:
            reason = f"no HTTP answer for {', '.join(silent)}"
        elif foreign:
            reason = f"the outside saw {', '.join(foreign)}, which is no gateway's address"
        elif used != allowed:
            reason = f"not every gateway carried probes: {sorted(used)} of {sorted(allowed)}"
        elif any(flow.lost for flow in flows):
            reason = "probes were lost"
        return _result("reach", family, flows, None, reason)

    def _judge_cut(
        self,
        name: str,
        gateway: Gateway,
        begin: float,
        promised_ms: float,
        family: Family,
        flows: list[FlowRecord],
    ) -> SceneResult:
        detection = self._detection_ms(gateway, family, begin)
        outage = longest_outage_ms(flows)
        limit = promised_ms + _SLACK_MS
        reason = ""
        if detection is None:
            reason = f"the router has not noticed that {gateway.name} is gone"
        elif outage > limit:
            reason = f"the outage of {outage:.0f} ms is longer than {limit:.0f} ms"
        elif not any(flow.lost for flow in flows):
            reason = f"nothing was lost, so {gateway.name} carried nothing: the scene shows nothing"
        elif not all(flow.answered and flow.answered[-1] for flow in flows):
            reason = "not every flow has recovered"
        return _result(name, family, flows, detection, reason)

    def _lossless(
        self,
        name: str,
        *,
        fault_at: float | None = None,
        gone: Gateway | None = None,
        back: Gateway | None = None,
    ) -> Callable[[Family, list[FlowRecord]], SceneResult]:
        """A judge for a scene in which nothing may be lost.

        At its end the gateway `gone` carries nothing, or `back` carries something.
        """

        def judge(family: Family, flows: list[FlowRecord]) -> SceneResult:
            detection = None
            if fault_at is not None and gone is not None:
                detection = self._detection_ms(gone, family, fault_at)
            excused = self._lost_by_ovn(family, flows) if gone is not None else 0
            lost = sum(flow.lost for flow in flows) - excused
            last = {flow.by[-1] for flow in flows if flow.by}
            reason = ""
            if lost:
                reason = f"{lost} probes were lost"
            elif gone is not None and gone.external_address(family) in last:
                reason = f"{gone.name} still carries traffic at the end"
            elif back is not None and back.external_address(family) not in last:
                reason = f"{back.name} carries no traffic at the end"
            return _result(name, family, flows, detection, reason, excused)

        return judge

    @property
    def _is_ovn(self) -> bool:
        return self._lab.options.router is RouterKind.OVN

    def _lost_by_ovn(self, family: Family, flows: list[FlowRecord]) -> int:
        """Single probes that were in OVN while it took a next hop away.

        OVN drops what it holds between two passes of its flow tables while the ECMP group of the
        route is exchanged: also with every gateway alive and forwarding, when the route is only
        edited (measured; see "Drain" in docs/architecture.md).
        """
        if not self._is_ovn:
            return 0
        ends = [
            event.at
            for event in events.read(self._lab.event_directory)
            if event.family == family.value and not event.is_up
        ]
        return sum(
            any(0 <= at - end <= _REROUTE_S for end in ends)
            for flow in flows
            for at in flow.single_losses()
        )


def _nothing_sent(name: str) -> Callable[[Family, list[FlowRecord]], SceneResult]:
    return lambda family, _: SceneResult(name, family.value, None, 0.0, 0, 0, passed=True)


def _result(
    scene: str,
    family: Family,
    flows: list[FlowRecord],
    detection: float | None,
    reason: str,
    lost_by_ovn: int = 0,
) -> SceneResult:
    sent = sum(len(flow.sent) for flow in flows)
    if not sent and not reason:
        reason = "no probe was sent"
    return SceneResult(
        scene,
        family.value,
        detection,
        longest_outage_ms(flows),
        sent,
        sum(flow.lost for flow in flows),
        passed=not reason,
        reason=reason,
        lost_by_ovn=lost_by_ovn,
    )


def play(lab: Lab, stage: Stage, begin_probing: Callable[[], None]) -> None:
    """All scenes in their order."""
    first, second = lab.topology.gateways[:2]
    stage.sessions_up()
    begin_probing()
    stage.reach()
    stage.cut(first)
    stage.heal(first)
    stage.cut_upstream(first)
    stage.heal_upstream(first)
    stage.stop(second)
    stage.start(second)


def default_timers(router: RouterKind) -> tuple[int, int, int]:
    """BFD interval in ms, multiplier, and interval of the probes in ms, for a demo."""
    return (50, 3, 10) if router is RouterKind.LINUX else (100, 3, 20)
