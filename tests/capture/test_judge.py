"""What `vegd capture` reports as wrong, and what it must not."""

import pytest

from bfd.fsm import State
from bfd.packet import ControlPacket, encode
from vegd.capture.judge import Judge
from vegd.capture.packets import Seen

OURS, THEIRS = "192.0.2.1", "192.0.2.2"
UP = ControlPacket(State.UP, 1, 2, 100_000, 100_000)


class Wire:
    """Two speakers and a judge."""

    def __init__(self, min_ttl: int = 255) -> None:
        self.judge = Judge(min_ttl)
        self.at = 1000.0

    def say(self, packet: ControlPacket = UP, source: str = OURS, **fields: object) -> list[str]:
        other = THEIRS if source == OURS else OURS
        seen = Seen(self.at, "in", "e", source, 50_000, other, 3784, 255, encode(packet))
        return list(self.judge.judge(seen._replace(**fields)))  # type: ignore[arg-type]

    def hear(self, packet: ControlPacket = UP, **fields: object) -> list[str]:
        return self.say(packet._replace(my_discr=2, your_discr=1), THEIRS, **fields)

    def wait(self, ms: float) -> "Wire":
        self.at += ms / 1000
        return self


@pytest.mark.parametrize(
    ("ms", "wrong"),
    [
        (74.9, ["spacing 74.9 % of 100 ms"]),
        (75.001, []),
        (99.999, []),
        (100.2, ["spacing 100.2 % of 100 ms"]),
        (250, ["spacing 250.0 % of 100 ms"]),
    ],
)
def test_D13_spacing_outside_75_to_100_percent_is_reported(ms: float, wrong: list[str]) -> None:
    wire = Wire()
    assert wire.hear() == wire.wait(1).say() == []
    wire.wait(ms - 0.1).hear()
    assert wire.wait(0.1).say() == wrong


def test_D14_with_multiplier_one_the_most_is_90_percent() -> None:
    wire, packet = Wire(), UP._replace(detect_mult=1)
    wire.hear(packet)
    wire.wait(1).say(packet)
    assert wire.wait(91).say(packet) == ["spacing 91.0 % of 100 ms"]
    assert wire.wait(89).say(packet) == []


def test_the_slower_side_sets_the_interval() -> None:
    wire = Wire()
    wire.hear(UP._replace(required_min_rx_us=300_000))
    wire.wait(1).say()
    assert wire.wait(280).say() == []
    assert wire.wait(101).say() == [], "by now the other side may be thought dead"
    wire.wait(0).hear(UP._replace(required_min_rx_us=300_000))
    assert wire.wait(101).say() == ["spacing 33.7 % of 300 ms"]


def test_without_the_other_side_a_gap_can_be_too_short_but_not_too_long() -> None:
    wire = Wire()
    wire.say()
    assert wire.wait(900).say() == []
    assert wire.wait(10).say() == ["spacing 10.0 % of 100 ms"]


@pytest.mark.parametrize(
    "second",
    [
        UP._replace(poll=True),
        UP._replace(final=True),
        UP._replace(state=State.DOWN),
        UP._replace(required_min_rx_us=50_000),
    ],
)
def test_news_polls_and_answers_may_come_at_any_time(second: ControlPacket) -> None:
    wire = Wire()
    wire.hear()
    wire.wait(1).say()
    assert wire.wait(5).say(second) == []


def test_D10_an_answer_does_not_move_the_periodic_packets() -> None:
    wire = Wire()
    wire.hear()
    wire.wait(1).say()
    assert wire.wait(50).say(UP._replace(final=True)) == []
    assert wire.wait(40).say() == []


def test_D15_a_peer_that_wants_nothing_and_one_in_demand_mode_are_not_missed() -> None:
    for packet in (UP._replace(required_min_rx_us=0), UP._replace(demand=True)):
        wire = Wire()
        wire.hear(packet)
        wire.wait(1).say()
        wire.wait(899).hear(packet)
        assert wire.wait(1).say() == []


def test_a_change_of_the_other_sides_timers_is_given_time() -> None:
    wire = Wire()
    wire.hear()
    wire.wait(1).say()
    wire.wait(20).hear(UP._replace(required_min_rx_us=500_000))
    assert wire.wait(80).say() == []
    assert wire.wait(100).say() == ["spacing 20.0 % of 500 ms"]


def test_H3_a_low_ttl_is_reported_below_the_minimum_and_never_for_multihop() -> None:
    assert Wire().say(ttl=254) == ["TTL 254 is below 255"]
    assert Wire(254).say(ttl=254) == []
    assert Wire().say(ttl=60, port=4784) == []


def test_H1_a_source_port_of_a_translator_is_reported() -> None:
    assert Wire().say(source_port=1024) == ["source port 1024 is below 49152"]


def test_D8_poll_and_final_together_are_reported() -> None:
    assert Wire().say(UP._replace(poll=True, final=True)) == ["Poll and Final together"]


def test_B4_what_every_receiver_must_discard_is_reported_with_the_reason() -> None:
    assert Wire().say(UP._replace(detect_mult=0)) == ["discarded: detect_mult"]
    assert Wire().say(data=b"") == ["discarded: truncated"]


def test_directions_and_interfaces_are_told_apart() -> None:
    wire = Wire()
    wire.say()
    assert wire.wait(1).say(interface="macvlan") == []
    assert wire.wait(1).hear() == []
