"""The demo of a cluster: a gateway with BFD under traffic, everything that may happen to it, a
report and a picture; nothing is left behind.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.live import Live
from rich.table import Table

from vegd.lab import janitor
from vegd.lab.cluster.cluster import ClusterLab
from vegd.lab.cluster.hands import Hands
from vegd.lab.cluster.scenes import INTERVAL_MS, MULTIPLIER, PODS, SCENES, MayCut, Scene
from vegd.lab.errors import LabError, SceneFailed
from vegd.lab.flows import FlowRecord, Probed, Probes, longest_outage_ms
from vegd.lab.lab import remove
from vegd.lab.picture import draw
from vegd.lab.report import Report, SceneResult
from vegd.lab.state import LabState, poll_until
from vegd.lab.topology import FAMILIES, Family

OUTSIDE = {Family.IPV4: "172.18.0.1", Family.IPV6: "fd18::1"}
"""The outside host's addresses in demo.yaml."""
_PREFIX_LENGTHS = {Family.IPV4: 16, Family.IPV6: 64}
_PROBE_MS = 20
_CONNECTIONS, _ASK_MS = 4, 200
"""Long connections of each address of each client, and the pause between two requests."""
SLACK_MS = 150.0
"""What a busy machine, and OVN while it exchanges next hops, may add to an outage."""
_TURNS_GROUPS = "25.03"
"""The version of OVN that turns the next hops' order round when other networks get routes."""
_SETTLE_S = 1.5
_BEGIN_S = 5.0
_END_S = 30.0


class Cut(NamedTuple):
    """A long connection that was cut. Times as those of `Played`."""

    family: Family
    made: float
    at: float
    seen_as: str | None
    """The address of the gateway that it went by."""


@dataclass(frozen=True, slots=True)
class Played:
    """A scene that was played, to be judged when the probes are in. CLOCK_MONOTONIC, seconds."""

    scene: Scene
    start: float
    end: float
    gone: frozenset[str] = frozenset()
    """External addresses that the gateway had before and not after, or not all the time."""
    failure: str = ""
    """What was not as it should be."""

    def has_cut(self, cut: Cut) -> bool:
        """Whether a connection was cut meanwhile that may not have been."""
        if not self.start <= cut.at < self.end or self.scene.may_cut is MayCut.ALL:
            return False
        if self.scene.may_cut is MayCut.NOTHING:
            return True
        # What was cut goes on by others, and goes back when the next gateway is there.
        return cut.made < self.start and cut.seen_as not in self.gone


class Connections:
    """The processes that keep long connections, one for each client."""

    def __init__(self, state: LabState, probed: Sequence[Probed]) -> None:
        self._state = state
        self._probed = probed

    def start(self) -> None:
        """Begin."""
        for each in self._probed:
            module = [sys.executable, "-m", "vegd.lab.connections", str(_CONNECTIONS), str(_ASK_MS)]
            command = [*module, str(self._result(each)), *each.pairs()]
            self._state.start(f"connections-{each.client}", each.namespace, command)

    def stop(self) -> list[Cut]:
        """End; which were cut. Raises LabError."""
        for each in self._probed:
            process = self._state.process(f"connections-{each.client}")
            if process is None:
                raise LabError(f"connections-{each.client} has died; see its log")
            os.kill(process.pid, signal.SIGTERM)
        for _ in poll_until(_END_S):
            if all(self._result(each).exists() for each in self._probed):
                break
        else:
            raise LabError(f"the long connections have not ended within {_END_S:g} s")
        return [
            Cut(Family.of(found["source"]), made, at, seen_as)
            for each in self._probed
            for found in json.loads(self._result(each).read_text())
            for made, at, seen_as in found["cuts"]
        ]

    def _result(self, probed: Probed) -> Path:
        return self._state.directory / f"connections-{probed.client}.json"


class Story:
    """Plays scenes on a cluster, one after the other."""

    def __init__(self, lab: ClusterLab, tell: Callable[[str], None]) -> None:
        self.hands = Hands(lab, "egress", "clients", OUTSIDE)
        self.played: list[Played] = []
        self.external: dict[str, str] = {}
        """Every external address that has been seen, and the pod that had it."""
        self._lab = lab
        self._tell = tell

    def prepare(self) -> None:
        """Make the world; wait until all is well. Raises LabError."""
        self._tell("a VPC, clients and a gateway are made")
        self._lab.network.ensure_outside(
            f"{address}/{_PREFIX_LENGTHS[family]}" for family, address in OUTSIDE.items()
        )
        text = resources.files("vegd.lab.cluster").joinpath("demo.yaml").read_text()
        self._lab.kubectl("apply", "--server-side", "-f", "-", stdin=text)
        self.hands.kubectl("rollout", "status", "deployment", "-l", "app=clients", "--timeout=120s")
        self.hands.settle(PODS)
        self._look()
        # The router's flows on each node are a moment behind its sessions.
        time.sleep(_BEGIN_S)

    def play(self, scenes: Sequence[Scene]) -> None:
        """Play scenes under traffic; one that fails does not keep the others from being played."""
        for scene in scenes:
            self._tell(scene.told)
            start = time.monotonic()
            failure, gone = "", frozenset[str]()
            try:
                before = self.hands.external_addresses()
                self.hands.drained.clear()
                scene.act(self.hands)
                self._look()
                gone = frozenset(before - self.hands.external_addresses() | self.hands.drained)
            except LabError as exc:
                failure = str(exc)
                self._tell(f"FAILED: {failure}")
            time.sleep(_SETTLE_S)
            self.played.append(Played(scene, start, time.monotonic(), gone, failure))

    def _look(self) -> None:
        """Whose the external addresses are, and that each client is led to one of them."""
        for pod in self.hands.pods():
            for address in self.hands.external_of(pod):
                self.external[address] = pod["metadata"]["name"]
        allowed = self.hands.external_addresses()
        for client in self.hands.clients():
            for source, seen in client.fetch().items():
                if seen not in allowed:
                    raise SceneFailed(f"{source} is seen as {seen}, which is none of {allowed}")


def judge(
    played: Played,
    flows: Sequence[FlowRecord],
    cuts: Sequence[Cut],
    slack_ms: float,
    *,
    turns: bool,
) -> list[SceneResult]:
    """What a scene has cost, in each family; `slack_ms` as `SLACK_MS`. `turns`: whether the router
    cuts connections when it gets routes for other networks."""
    return [
        _judge(
            played,
            family,
            [each.between(played.start, played.end) for each in flows if each.family is family],
            [each for each in cuts if each.family is family],
            slack_ms,
            turns=turns,
        )
        for family in FAMILIES
    ]


def _judge(
    played: Played,
    family: Family,
    flows: Sequence[FlowRecord],
    cuts: Sequence[Cut],
    slack_ms: float,
    *,
    turns: bool,
) -> SceneResult:
    scene = played.scene
    outage = longest_outage_ms(flows)
    limit = scene.limit_ms + slack_ms
    wrong = 0 if scene.adds_routes and turns else sum(map(played.has_cut, cuts))
    if played.failure:
        reason = played.failure
    elif not any(flow.sent for flow in flows):
        reason = "no probe was sent"
    elif wrong:
        whose = " of gateways that stayed" if scene.may_cut is MayCut.OF_GONE else ""
        reason = f"{wrong} long connections{whose} were cut"
    elif outage > limit:
        reason = f"the outage of {outage:.0f} ms is longer than {limit:.0f} ms"
    else:
        reason = ""
    return SceneResult(
        scene.name,
        family.value,
        None,
        outage,
        sum(len(flow.sent) for flow in flows),
        sum(flow.lost for flow in flows),
        passed=not reason,
        reason=reason,
        cut=sum(played.start <= each.at < played.end for each in cuts),
    )


class Screen:
    """What is shown while it runs: a live table on a terminal, lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._told: list[str] = []
        self.probes: Probes | None = None
        self.owners: dict[str, str] = {}

    def tell(self, text: str) -> None:
        """Something happens now."""
        line = f"{time.monotonic() - self._began:6.1f} s  {text}"
        self._told.append(line)
        if not self._console.is_terminal:
            self._console.print(line, highlight=False)

    def __rich__(self) -> Table:
        """Who carries the probes, and what happened last."""
        carried = self.probes.now() if self.probes else {}
        total = sum(carried.values())
        table = Table(caption="\n".join(self._told[-4:]), caption_justify="left")
        for name in ("gateway pod", "seen outside as", "share of probes"):
            table.add_column(name)
        for address, count in sorted(carried.items()):
            bar = "█" * round(count / total * 30)
            table.add_row(self.owners.get(address, "?"), address, f"{count / total:4.0%} {bar}")
        return table


def run_story(
    lab: ClusterLab,
    report_path: Path,
    picture_path: Path,
    *,
    scenes: Sequence[Scene] = SCENES,
    slack_ms: float = SLACK_MS,
) -> Report:
    """Play all scenes on a cluster of its own; the report and the picture are written even if one
    fails. Raises LabError where no scene could be played, SceneFailed where one has failed."""
    console = Console()
    remove(lab.options.prefix)
    screen = Screen(console)
    story = Story(lab, screen.tell)
    report = Report(f"OVN {lab.ovn_version}", INTERVAL_MS, MULTIPLIER)
    with janitor.watch(lab.options.prefix):
        lab.create(screen.tell)
        with Live(screen, console=console, refresh_per_second=4, transient=True) as live:
            if not console.is_terminal:
                live.stop()
            story.prepare()
            clients = story.hands.clients()
            probes = Probes(lab.state, clients, _PROBE_MS)
            connections = Connections(lab.state, clients)
            probes.start()
            connections.start()
            screen.probes, screen.owners = probes, story.external
            story.play(scenes)
        cuts, flows = connections.stop(), probes.stop()
        for played in story.played:
            turns = lab.ovn_version.startswith(_TURNS_GROUPS)
            report.scenes += judge(played, flows, cuts, slack_ms, turns=turns)
        marks = [(each.start, each.scene.name) for each in story.played]
        title = f"vegd on a cluster: OVN {lab.ovn_version}, {INTERVAL_MS} ms x {MULTIPLIER}"
        draw(picture_path, story.external, flows, marks, title)
    report.write(report_path)
    console.print(report.table())
    console.print(f"report {report_path}, picture {picture_path}", highlight=False)
    if not report.passed:
        raise SceneFailed("\n".join(report.reasons()))
    return report
