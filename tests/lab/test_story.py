"""Which cut connections are held against a scene."""

from dataclasses import replace

import pytest

from vegd.lab.cluster.scenes import MayCut, Scene
from vegd.lab.cluster.story import Cut, Played, judge
from vegd.lab.flows import FlowRecord
from vegd.lab.topology import Family

_FLOW = FlowRecord("a", "10.0.0.1", (10.0, 11.0, 12.0), (10.1, 11.1, 12.1), ("x", "x", "x"))
_SCENE = Scene("deleted", "a pod is deleted", lambda _: None, may_cut=MayCut.OF_GONE)
_PLAYED = Played(_SCENE, 10.0, 20.0, gone=frozenset({"172.18.0.2"}))
_CUT = Cut(Family.IPV4, 1.0, 15.0, "172.18.0.3")
"""Of a gateway that stayed."""


def _reason(played: Played, *cuts: Cut, turns: bool = False) -> str:
    (ipv4, _) = judge(played, [_FLOW], cuts, 0.0, turns=turns)
    assert ipv4.cut == len(cuts)
    return ipv4.reason


def test_who_goes_may_cut_its_own_connections_and_no_others() -> None:
    assert not _reason(_PLAYED, _cut(seen_as="172.18.0.2"))
    assert _reason(_PLAYED, _CUT) == "1 long connections of gateways that stayed were cut"
    assert not _reason(_PLAYED, _cut(made=11.0)), "it was cut before, and goes back"


@pytest.mark.parametrize(
    ("may_cut", "reason"), [(MayCut.ALL, ""), (MayCut.NOTHING, "1 long connections were cut")]
)
def test_elsewhere_all_are_alike(may_cut: MayCut, reason: str) -> None:
    played = replace(_PLAYED, scene=replace(_SCENE, may_cut=may_cut))
    assert _reason(played, _CUT) == reason
    assert _reason(played, _cut(seen_as="172.18.0.2", made=11.0)) == reason


def test_an_ovn_that_turns_its_groups_may_cut_where_routes_are_added() -> None:
    played = replace(_PLAYED, scene=replace(_SCENE, may_cut=MayCut.NOTHING, adds_routes=True))
    assert _reason(played, _CUT)
    assert not _reason(played, _CUT, turns=True)


def test_what_was_cut_at_another_time_is_another_scenes() -> None:
    (ipv4, _) = judge(_PLAYED, [_FLOW], [_cut(at=20.0), _cut(at=9.9)], 0, turns=False)
    assert ipv4.passed
    assert ipv4.cut == 0


def _cut(**changes: object) -> Cut:
    return _CUT._replace(**changes)  # type: ignore[arg-type]
