"""Loss and outage of a probe flow: what is counted, from when to when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vegd.lab.flows import FlowRecord, longest_outage_ms
from vegd.lab.topology import Family


def _flow(answers: str, step: float = 0.01, source: str = "192.168.1.10") -> FlowRecord:
    """A flow of one probe per step; ``x`` is an answer, ``.`` a loss."""
    sent = tuple(n * step for n in range(len(answers)))
    answered = tuple(
        at + 0.001 if each == "x" else None for at, each in zip(sent, answers, strict=True)
    )
    by = tuple("172.17.0.11" if each == "x" else None for each in answers)
    return FlowRecord("client1", source, sent, answered, by)


@pytest.mark.parametrize(
    ("answers", "lost", "outage_steps"),
    [
        ("", 0, 0),
        ("xxx", 0, 0),
        ("x.x", 1, 1),
        ("x...x", 3, 3),
        ("x..x.x", 3, 2),
        ("x.x...x..x", 6, 3),
        ("..x", 2, 2),
        ("x..", 2, 1),
        ("....", 4, 3),
    ],
)
def test_the_outage_is_the_longest_run_of_losses(
    answers: str, lost: int, outage_steps: int
) -> None:
    flow = _flow(answers)
    assert flow.lost == lost
    assert flow.outage_s == pytest.approx(outage_steps * 0.01)


@given(st.text("x.", max_size=60))
def test_an_outage_needs_a_loss_and_fits_in_the_flow(answers: str) -> None:
    flow = _flow(answers)
    assert flow.lost == answers.count(".")
    assert 0 <= flow.outage_s <= max(0, len(answers) - 1) * 0.01 + 1e-9
    if "." not in answers:
        assert flow.outage_s == 0


def test_a_scene_sees_the_probes_sent_in_its_time_only() -> None:
    flow = _flow("x..xx...x", step=1)
    scene = flow.between(3, 8)
    assert scene.sent == (3, 4, 5, 6, 7)
    assert scene.lost == 3
    assert scene.by == ("172.17.0.11", "172.17.0.11", None, None, None)
    assert flow.between(100, 200).outage_s == 0


def test_the_worst_flow_counts() -> None:
    assert longest_outage_ms([_flow("xx"), _flow("x..x"), _flow("x.x")]) == 20.0
    assert longest_outage_ms([]) == 0.0


def test_a_flow_knows_its_family() -> None:
    assert _flow("x").family is Family.IPV4
    assert _flow("x", source="fd01::10").family is Family.IPV6


@pytest.mark.parametrize(
    ("answers", "lost_alone"),
    [("", []), ("x.x", [1]), (".xx", []), ("xx.", []), ("x..x", []), ("x.x.x..x.x", [1, 3, 8])],
)
def test_a_probe_is_lost_alone_between_two_answered_ones(
    answers: str, lost_alone: list[int]
) -> None:
    assert _flow(answers, step=1).single_losses() == lost_alone
