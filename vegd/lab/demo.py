"""The demo: a lab, all scenes under probing, a report and a picture; nothing is left behind."""

import time
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from vegd.lab import events, janitor
from vegd.lab.errors import LabError, SceneFailed
from vegd.lab.flows import FlowRecord, Probes, probed
from vegd.lab.lab import Lab, remove
from vegd.lab.picture import draw
from vegd.lab.report import Report
from vegd.lab.scenes import Stage, play
from vegd.lab.topology import Family, LabOptions


class Screen:
    """What is shown while the demo runs: a live table on a terminal, lines elsewhere."""

    def __init__(self, console: Console, lab: Lab, probes: Probes) -> None:
        self._console = console
        self._lab = lab
        self._probes = probes
        self._began = time.monotonic()
        self._told: list[str] = []

    def tell(self, text: str) -> None:
        """Something happens now."""
        line = f"{time.monotonic() - self._began:6.1f} s  {text}"
        self._told.append(line)
        if not self._console.is_terminal:
            self._console.print(line, highlight=False)

    def __rich__(self) -> Table:
        """The live table: sessions of the router, who carries the probes, what happened last."""
        newest = events.newest(self._lab.event_directory)
        carried = self._probes.now()
        total = sum(carried.values())
        table = Table(caption="\n".join(self._told[-3:]), caption_justify="left")
        for name in ("gateway", "family", "session", "share of probes"):
            table.add_column(name)
        for gateway, family in self._lab.topology.peers():
            event = newest.get((gateway.name, family.value))
            share = carried.get(gateway.external_address(family), 0) / total if total else 0.0
            state = event.state if event else "-"
            style = "green" if state == "Up" else "red"
            bar = "█" * round(share * 30)
            table.add_row(gateway.name, family.value, f"[{style}]{state}[/]", f"{share:4.0%} {bar}")
        return table


def run_demo(
    options: LabOptions, probe_interval_ms: int, report_path: Path, picture_path: Path
) -> Report:
    """Play all scenes; the report and the picture are written even if a scene fails.

    Raises LabError where no scene could be played.
    """
    if options.gateways < 2:
        raise LabError("gateways: the demo needs at least 2, so that one can take over")
    console = Console()
    remove(options.prefix)
    lab = Lab(options)
    probes = Probes(lab.state, probed(lab), probe_interval_ms)
    screen = Screen(console, lab, probes)
    stage = Stage(lab, screen.tell)
    report = Report(options.router.value, options.interval_ms, options.multiplier)
    with janitor.watch(options.prefix):
        screen.tell(f"building the lab with the {options.router.value} router")
        lab.create()
        failure = ""
        probing = False

        def begin_probing() -> None:
            nonlocal probing
            probes.start()
            probing = True

        with Live(screen, console=console, refresh_per_second=5, transient=True) as live:
            if not console.is_terminal:
                live.stop()
            try:
                play(lab, stage, begin_probing)
            except SceneFailed as exc:
                failure = str(exc)
        flows = probes.stop() if probing else []
        _judge(report, stage, flows)
        if flows:
            marks = [(scene.start, scene.name) for scene in stage.played[1:]]
            timers = f"{options.interval_ms} ms x {options.multiplier}"
            title = f"vegd: {options.router.value} router, {timers}"
            draw(picture_path, lab.topology.owners, flows, marks, title)
    report.write(report_path)
    if report.scenes:
        console.print(report.table())
    console.print(f"report {report_path}, picture {picture_path}", highlight=False)
    if failure:
        raise SceneFailed(failure)
    if not report.passed:
        raise SceneFailed("\n".join(report.reasons()))
    return report


def _judge(report: Report, stage: Stage, flows: list[FlowRecord]) -> None:
    for scene in stage.played:
        for family in Family:
            chosen = [
                flow.between(scene.start, scene.end) for flow in flows if flow.family is family
            ]
            report.scenes.append(scene.judge(family, chosen))
