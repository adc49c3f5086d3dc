"""What vegd wants to reach, and whether it has."""

from collections.abc import Callable
from typing import NamedTuple

from bench.support.report import Figure, short

Figures = dict[tuple[str, str, int], Figure]
"""By measure, daemon and sessions."""

US = "vegd"


class Aim(NamedTuple):
    """One line of the list of aims; `found` says what was reached and whether it is enough."""

    text: str
    found: Callable[[Figures], tuple[str, bool] | None]


def _at_most(measure: str, sessions: int, limit: float, unit: str) -> Callable[[Figures], object]:
    def judge(figures: Figures) -> tuple[str, bool] | None:
        ours = figures.get((measure, US, sessions))
        return None if ours is None else (f"{short(ours.value)} {unit}", ours.value <= limit)

    return judge


def _times(measure: str, sessions: int, limit: float, rival: str) -> Callable[[Figures], object]:
    def judge(figures: Figures) -> tuple[str, bool] | None:
        ours, other = (figures.get((measure, name, sessions)) for name in (US, rival))
        if ours is None or other is None or not other.value:
            return None
        ratio = ours.value / other.value
        return f"{ratio:.2f} x {rival}", ratio <= limit

    return judge


def _not_worse_than_the_best(measure: str, sessions: int) -> Callable[[Figures], object]:
    def judge(figures: Figures) -> tuple[str, bool] | None:
        ours = figures.get((measure, US, sessions))
        others = [
            f
            for (what, daemon, n), f in figures.items()
            if (what, n) == (measure, sessions) and not daemon.startswith(US)
        ]
        if ours is None or not others:
            return None
        best = min(others, key=lambda f: f.value)
        text = f"{short(ours.value)} ms; {best.system} {short(best.value)} ms"
        return text, ours.value <= best.value

    return judge


def _no_flaps(figures: Figures) -> tuple[str, bool] | None:
    ours = [f for (what, d, _), f in figures.items() if what == "flaps" and d.startswith(US)]
    if not ours:
        return None
    return ", ".join(f"{short(f.value)} ({f.system})" for f in ours), not any(f.value for f in ours)


AIMS = (
    Aim("CPU, 64 sessions at 100 ms: at most 0.7 x BIRD", _times("cpu_100ms", 64, 0.7, "BIRD")),
    Aim("target 0.35 x BIRD", _times("cpu_100ms", 64, 0.35, "BIRD")),
    Aim("CPU, 512 sessions at 100 ms: at most 0.5 x BIRD", _times("cpu_100ms", 512, 0.5, "BIRD")),
    Aim("target 0.25 x BIRD", _times("cpu_100ms", 512, 0.25, "BIRD")),
    Aim(
        "CPU, 1,000 sessions at 100 ms: at most 40 % of a core",
        _at_most("cpu_100ms", 1000, 400, "ms/s"),
    ),
    Aim("CPU, 1 session at 100 ms: at most 1.5 x BIRD", _times("cpu_100ms", 1, 1.5, "BIRD")),
    Aim(
        "detection beyond nominal, 50 ms x 3: median at most 0.5 ms",
        _at_most("detection_median", 8, 0.5, "ms"),
    ),
    Aim("p99 at most the best rival's", _not_worse_than_the_best("detection_p99", 8)),
    Aim("start to first packet: at most 120 ms", _at_most("first_packet", 1, 120, "ms")),
    Aim("start to Up with a prompt peer: at most 200 ms", _at_most("up", 1, 200, "ms")),
    Aim(
        "spacing at 50 ms above 100 %: at most 0.2 % of packets",
        _at_most("spacing_over_100", 8, 0.2, "%"),
    ),
    Aim("spacing below 75 %: none", _at_most("spacing_under_75", 8, 0.0, "%")),
    Aim("64 sessions at 100 ms under pressure: no flap on either end", _no_flaps),
    Aim("memory, 1 session: at most 22 MB resident", _at_most("rss", 1, 22, "MB")),
    Aim("memory, 1,000 sessions: at most 40 MB resident", _at_most("rss", 1000, 40, "MB")),
)
