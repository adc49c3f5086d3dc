"""The router's events: what is newest counts, a half-written line does not."""

from pathlib import Path

from vegd.lab import events
from vegd.lab.topology import Family, LabOptions, Topology


def test_the_newest_state_of_each_session_counts(tmp_path: Path) -> None:
    peers = list(Topology(LabOptions()).peers())
    for gateway, family in peers:
        events.add(tmp_path, gateway.name, family, "Up")
    assert events.up(tmp_path, peers)
    events.add(tmp_path, "gw2", Family.IPV6, "Down")
    assert not events.up(tmp_path, peers)
    assert events.up(tmp_path, [each for each in peers if each[0].name == "gw1"])
    assert events.newest(tmp_path)["gw2", "ipv6"].state == "Down"
    assert len(events.read(tmp_path)) == 5


def test_without_events_nothing_is_up(tmp_path: Path) -> None:
    assert not events.up(tmp_path, Topology(LabOptions()).peers())
    assert events.read(tmp_path) == []


def test_a_line_that_is_being_written_waits(tmp_path: Path) -> None:
    events.add(tmp_path, "gw1", Family.IPV4, "Up")
    with (tmp_path / events.FILE).open("a") as file:
        file.write('{"at": 1.0, "gateway": "gw1", "fam')
    assert [event.state for event in events.read(tmp_path)] == ["Up"]
