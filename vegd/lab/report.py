"""What the demo found, scene by scene and family by family: as a table, and as a JSON file."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.table import Table


@dataclass(frozen=True, slots=True)
class SceneResult:
    """One scene in one family."""

    scene: str
    family: str
    detection_ms: float | None
    """From the fault to the router's session going down; None where the scene has no fault."""
    outage_ms: float
    """The longest time that any flow had no answered probe; see `vegd.lab.flows`."""
    sent: int
    lost: int
    passed: bool
    reason: str = ""
    """Why it has not passed."""
    lost_by_ovn: int = 0
    """Of the lost, those that OVN lost by itself while it rewrote its routes; they are excused."""
    cut: int | None = None
    """Long connections that were cut; None where none were kept."""


@dataclass(slots=True)
class Report:
    """The whole demo. Timers in milliseconds."""

    router: str
    interval_ms: int
    multiplier: int
    scenes: list[SceneResult] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every scene passed, and there was one."""
        return bool(self.scenes) and all(scene.passed for scene in self.scenes)

    def reasons(self) -> list[str]:
        """Why it has not passed, a line per scene and family."""
        return [f"{s.scene} ({s.family}): {s.reason}" for s in self.scenes if not s.passed]

    def write(self, path: Path) -> None:
        """Write the JSON file."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    def table(self) -> Table:
        """The table that the demo ends with."""
        timers = f"{self.interval_ms} ms x {self.multiplier}"
        table = Table(title=f"{self.router} router, BFD at {timers}")
        for name in ("scene", "family"):
            table.add_column(name)
        for name in ("detection ms", "outage ms", "sent", "lost"):
            table.add_column(name, justify="right")
        with_connections = any(scene.cut is not None for scene in self.scenes)
        if with_connections:
            table.add_column("cut", justify="right")
        table.add_column("")
        for scene in self.scenes:
            table.add_row(
                scene.scene,
                scene.family,
                "-" if scene.detection_ms is None else f"{scene.detection_ms:.0f}",
                f"{scene.outage_ms:.0f}",
                str(scene.sent),
                f"{scene.lost} (OVN's)" if scene.lost_by_ovn else str(scene.lost),
                *([_count(scene.cut)] if with_connections else []),
                "[green]passed[/]" if scene.passed else "[red]FAILED[/]",
            )
        return table


def _count(number: int | None) -> str:
    return "-" if number is None else str(number)
