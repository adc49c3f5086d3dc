"""What the demo leaves behind: the report, its table and the picture."""

import io
import json
from pathlib import Path
from xml.etree import ElementTree as ET

from rich.console import Console

from vegd.lab.flows import FlowRecord
from vegd.lab.picture import draw
from vegd.lab.report import Report, SceneResult
from vegd.lab.topology import LabOptions, Topology

_GOOD = SceneResult("reach", "ipv4", None, 0.0, 500, 0, passed=True)
_BAD = SceneResult("cut", "ipv6", 152.3, 812.0, 480, 7, passed=False, reason="too long")


def test_a_report_passes_only_if_every_scene_did() -> None:
    assert not Report("linux", 50, 3).passed
    assert Report("linux", 50, 3, [_GOOD]).passed
    report = Report("linux", 50, 3, [_GOOD, _BAD])
    assert not report.passed
    assert report.reasons() == ["cut (ipv6): too long"]


def test_the_file_has_the_documented_fields(tmp_path: Path) -> None:
    Report("ovn", 100, 3, [_GOOD, _BAD]).write(tmp_path / "report.json")
    document = json.loads((tmp_path / "report.json").read_text())
    assert document["router"] == "ovn"
    assert [scene["scene"] for scene in document["scenes"]] == ["reach", "cut"]
    documented = {"scene", "family", "detection_ms", "outage_ms", "sent", "lost", "passed"}
    for scene in document["scenes"]:
        assert documented <= set(scene)
    assert document["scenes"][0]["detection_ms"] is None
    assert document["scenes"][1]["detection_ms"] == 152.3


def test_the_table_shows_every_scene() -> None:
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(Report("linux", 50, 3, [_GOOD, _BAD]).table())
    lines = console.export_text().splitlines()
    (cut,) = [line for line in lines if "cut" in line]
    assert [cell.strip() for cell in cut.strip("│ ").split("│")] == [
        *("cut", "ipv6", "152", "812", "480", "7", "FAILED"),
    ]
    assert any("50 ms x 3" in line for line in lines)


def test_the_picture_has_a_row_per_flow_and_names_every_scene(tmp_path: Path) -> None:
    topology = Topology(LabOptions())
    flows = []
    for client in topology.clients:
        for source in ("192.168.1.10", "fd01::10"):
            sent = tuple(n * 0.01 for n in range(100))
            by = tuple(None if 40 <= n < 55 else "172.17.0.11" for n in range(100))
            answered = tuple(at if who else None for at, who in zip(sent, by, strict=True))
            flows.append(FlowRecord(client.name, source, sent, answered, by))
    path = tmp_path / "report.svg"
    draw(path, topology.owners, flows, [(0.0, "reach"), (0.4, "cut")], "the title")
    root = ET.parse(path).getroot()  # noqa: S314 - our own file
    texts = " ".join("".join(each.itertext()) for each in root.iter())
    for expected in ("client1  192.168.1.10", "client2  fd01::10", "reach", "cut", "the title"):
        assert expected in texts
    assert "through gw1" in texts
    assert "#d02020" in path.read_text()


def test_what_ovn_lost_by_itself_is_said_to_be_ovns() -> None:
    console = Console(width=120, record=True)
    excused = SceneResult("drain", "ipv6", 812.0, 20.0, 2440, 1, passed=True, lost_by_ovn=1)
    console.print(Report("ovn", 100, 3, [excused]).table())
    assert "1 (OVN's)" in console.export_text()
