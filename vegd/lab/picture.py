"""The picture of a demo: one row per probe flow over time, so that an outage can be seen.

A row is coloured by the gateway that carried the answers; lost probes are red ticks. Scenes are
marked by lines with their names on top.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vegd.lab.flows import FlowRecord

_COLOURS = ("#4878b0", "#e0a030", "#5a9e6f", "#8f6bb3", "#999999", "#b07848")
_LOST = "#d02020"
_GAP_S = 0.5
_LEGEND_COLUMNS = 8


def draw(
    path: Path,
    owners: Mapping[str, str],
    flows: Sequence[FlowRecord],
    marks: Sequence[tuple[float, str]],
    title: str,
) -> None:
    """Draw to an SVG file; `owners` are the gateways of external addresses, `marks` the beginnings
    of scenes with their names."""
    begin = min((flow.sent[0] for flow in flows if flow.sent), default=0.0)
    names = dict.fromkeys(owners.values())
    colours = {name: _COLOURS[n % len(_COLOURS)] for n, name in enumerate(names)}
    figure = Figure(figsize=(13, 1.6 + 0.28 * len(flows)), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    ordered = sorted(flows, key=lambda flow: (flow.family.value, flow.client, flow.sent[:1]))
    for row, flow in enumerate(ordered):
        for start, end, gateway in _stretches(flow, owners):
            axes.broken_barh(
                [(start - begin, end - start)], (row - 0.35, 0.7), facecolors=colours[gateway]
            )
        pairs = zip(flow.sent, flow.answered, strict=True)
        lost = [at - begin for at, answered in pairs if answered is None]
        axes.vlines(lost, row - 0.42, row + 0.42, colors=_LOST, linewidth=0.8)
    for at, name in marks:
        axes.axvline(at - begin, color="black", linewidth=0.8, linestyle=":")
        axes.text(at - begin, -1.0, f" {name}", fontsize=8, rotation=20, va="bottom")
    axes.set_yticks(range(len(ordered)), [f"{f.client}  {f.source}" for f in ordered], fontsize=8)
    axes.set_ylim(len(ordered) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds")
    handles = [
        Line2D([], [], color=colour, linewidth=6, label=f"through {name}")
        for name, colour in colours.items()
    ]
    handles.append(Line2D([], [], color=_LOST, linewidth=2, label="probe lost"))
    columns = min(len(handles), _LEGEND_COLUMNS)
    figure.legend(handles=handles, loc="outside lower right", ncols=columns, fontsize=8)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    with mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(path, format="svg")


def _stretches(flow: FlowRecord, owners: Mapping[str, str]) -> list[tuple[float, float, str]]:
    """Periods in which one gateway carried the flow without a loss: start, end, gateway."""
    found: list[tuple[float, float, str]] = []
    last: str | None = None
    for at, by in zip(flow.sent, flow.by, strict=True):
        gateway = owners.get(by) if by else None
        if gateway is not None and gateway == last and at - found[-1][1] < _GAP_S:
            found[-1] = (found[-1][0], at, gateway)
        elif gateway is not None:
            found.append((at, at, gateway))
        last = gateway
    return found
