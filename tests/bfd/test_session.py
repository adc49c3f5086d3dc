"""One session, event by event: the rules of checklist B to F that are more than the grid."""

from dataclasses import replace
from itertools import pairwise

import pytest

from bfd.actions import Ended, StateChanged, Transmit
from bfd.fsm import Diagnostic, State
from bfd.packet import Discard
from bfd.timing import NEVER_US
from tests.support.bfd import FAST, PEER_DISCR, Bench, changes, packets


def test_C1_start_values() -> None:
    session = Bench().session
    assert session.state is State.DOWN
    assert session.remote_state is State.DOWN
    assert session.remote_discr == 0
    assert session.local_diag is Diagnostic.NO_DIAGNOSTIC
    assert session.remote_min_rx_us == 1
    assert session.remote_demand is False
    assert session.negotiation.desired_min_tx_us == 1_000_000


def test_E1_an_active_session_speaks_first_and_at_once() -> None:
    (packet,) = packets(Bench().wait(0))
    assert packet.state is State.DOWN
    assert packet.your_discr == 0
    assert not packet.poll


def test_D16_a_passive_session_waits_to_be_spoken_to() -> None:
    bench = Bench(replace(FAST, passive=True))
    assert bench.wait(60_000_000) == ()
    (packet,) = packets(bench.hear(State.DOWN))
    assert (packet.state, packet.your_discr) == (State.INIT, PEER_DISCR)


def test_D16_a_passive_session_falls_silent_when_the_peer_is_gone() -> None:
    bench = Bench(replace(FAST, passive=True)).bring_up()
    sent = packets(bench.wait(400_000))
    assert {p.state for p in sent} == {State.UP}
    assert bench.session.state is State.DOWN
    assert packets(bench.wait(60_000_000)) == []


def test_E2_the_handshake_goes_down_init_up() -> None:
    bench = Bench()
    bench.wait(0)
    assert changes(bench.hear(State.DOWN)) == [(State.DOWN, State.INIT)]
    assert changes(bench.hear(State.DOWN)) == []
    assert changes(bench.hear(State.INIT)) == [(State.INIT, State.UP)]


def test_D18_field_contents() -> None:
    bench = Bench(replace(FAST, required_min_rx_us=30_000, detect_mult=5)).bring_up()
    packet = packets(bench.wait(100_000))[-1]
    assert packet.my_discr == 42
    assert packet.your_discr == PEER_DISCR
    assert packet.detect_mult == 5
    assert packet.desired_min_tx_us == 100_000
    assert packet.required_min_rx_us == 30_000
    assert packet.required_min_echo_rx_us == 0
    assert not packet.demand
    assert packet.control_plane_independent


def test_D1_not_up_means_a_second_between_packets_but_the_configured_required_min_rx() -> None:
    bench = Bench()
    sent = []
    for _ in range(4):
        sent.append(bench.now_us)
        (packet,) = packets(bench.wait(0)) or packets(bench.wait(1_000_000))[-1:]
        assert packet.desired_min_tx_us == 1_000_000
        assert packet.required_min_rx_us == 100_000
    assert bench.session.tx_interval_us == 1_000_000


def test_D2_D9_reaching_up_polls_for_the_fast_interval() -> None:
    bench = Bench()
    bench.wait(0)
    bench.hear(State.DOWN)
    at_once = packets(bench.hear(State.INIT))
    assert [(p.state, p.desired_min_tx_us) for p in at_once] == [(State.UP, 100_000)]
    # D9: the bit rides on scheduled packets.
    assert not at_once[0].poll
    assert [p.poll for p in packets(bench.wait(200_000))] == [True, True]
    bench.hear(State.UP, final=True)
    assert [p.poll for p in packets(bench.wait(100_000))] == [False]


def test_B14_a_final_that_nobody_asked_for_changes_nothing() -> None:
    bench = Bench().bring_up()
    before = bench.session.tx_interval_us
    assert bench.hear(State.UP, final=True) == ()
    assert bench.session.tx_interval_us == before
    assert not bench.session.negotiation.is_asking


def test_D3_a_slower_rate_waits_for_the_final_while_up() -> None:
    bench = Bench().bring_up()
    bench.session.configure(replace(FAST, desired_min_tx_us=900_000), bench.now_us)
    assert bench.session.tx_interval_us == 100_000
    sent = packets(bench.wait(200_000))
    assert {(p.desired_min_tx_us, p.poll) for p in sent} == {(900_000, True)}
    bench.hear(State.UP, final=True)
    assert bench.session.tx_interval_us == 900_000


def test_D4_a_faster_required_min_rx_counts_for_detection_after_the_final() -> None:
    bench = Bench(desired_min_tx_us=20_000).bring_up()
    assert bench.session.detection_time_us == 300_000
    bench.session.configure(replace(FAST, required_min_rx_us=50_000), bench.now_us)
    assert bench.session.detection_time_us == 300_000
    bench.hear(State.UP)
    assert bench.session.detection_time_us == 300_000
    bench.hear(State.UP, final=True)
    assert bench.session.detection_time_us == 150_000


def test_D4_the_first_silence_after_the_final_may_last_as_long_as_before() -> None:
    bench = Bench(replace(FAST, required_min_rx_us=1_000_000)).bring_up()
    bench.session.configure(FAST, bench.now_us)
    bench.wait(100_000)
    bench.hear(State.UP, final=True)
    # The peer's next packet was planned before it knew: OVN lets it be.
    bench.wait(2_999_999)
    assert bench.session.state is State.UP
    bench.hear(State.UP)
    bench.wait(299_999)
    assert bench.session.state is State.UP
    bench.wait(1)
    assert bench.session.state is State.DOWN
    assert bench.session.last_change is not None
    assert bench.session.last_change.reason == "nothing heard for 300 ms"


def test_D6_a_faster_rate_and_a_slower_required_min_rx_take_effect_at_once() -> None:
    bench = Bench(required_min_rx_us=10_000).bring_up()
    config = replace(FAST, desired_min_tx_us=50_000, required_min_rx_us=200_000)
    bench.session.configure(config, bench.now_us)
    assert bench.session.tx_interval_us == 50_000
    assert bench.session.detection_time_us == 600_000


def test_D5_a_peer_that_can_receive_faster_is_served_at_once() -> None:
    bench = Bench(required_min_rx_us=1_000_000).bring_up()
    assert bench.session.tx_interval_us == 1_000_000
    while not packets(bench.wait(1_000)):
        bench.hear(State.UP)
    assert packets(bench.wait(150_000)) == []
    bench.hear(State.UP, required_min_rx_us=100_000)
    # 150 ms after the last packet the new interval of 100 ms is already over.
    assert len(packets(bench.wait(0))) == 1


def test_D7_a_second_change_during_a_poll_is_polled_for_by_itself() -> None:
    bench = Bench().bring_up()
    session = bench.session
    session.configure(replace(FAST, desired_min_tx_us=200_000), bench.now_us)
    assert packets(bench.wait(100_000))[-1].poll
    session.configure(replace(FAST, desired_min_tx_us=400_000), bench.now_us)
    assert packets(bench.wait(100_000))[-1].poll
    bench.hear(State.UP, final=True)
    assert session.tx_interval_us == 100_000, "the answer may be to the first question"
    assert [p.poll for p in packets(bench.wait(200_000))] == [False, True]
    bench.hear(State.UP, final=True)
    assert session.tx_interval_us == 400_000


def test_B19_D10_a_poll_is_answered_at_once_and_moves_no_other_packet() -> None:
    bench = Bench().bring_up()
    bench.wait(10_000)
    due = bench.session.due_us
    (answer,) = packets(bench.hear(State.UP, poll=True))
    assert (answer.final, answer.poll) == (True, False)
    assert bench.session.due_us == due
    # Not even when the answer has news for the peer.
    (answer,) = packets(bench.hear(State.UP, poll=True, my_discr=1234))
    assert (answer.final, answer.your_discr) == (True, 1234)
    assert bench.session.due_us == due


def test_D8_an_answer_during_our_own_poll_has_no_poll_bit() -> None:
    bench = Bench().bring_up()
    bench.session.configure(replace(FAST, desired_min_tx_us=200_000), bench.now_us)
    (answer,) = packets(bench.hear(State.UP, poll=True))
    assert (answer.final, answer.poll) == (True, False)
    assert packets(bench.wait(100_000))[-1].poll


def test_D10_a_state_change_with_a_poll_is_told_by_the_answer_alone() -> None:
    bench = Bench()
    bench.wait(0)
    (answer,) = packets(bench.hear(State.DOWN, poll=True))
    assert (answer.state, answer.final) == (State.INIT, True)


def test_D12_silence_takes_up_down_with_diagnostic_1() -> None:
    bench = Bench().bring_up()
    bench.wait(299_999)
    assert bench.session.state is State.UP
    assert changes(bench.wait(1)) == [(State.UP, State.DOWN)]
    assert bench.session.local_diag is Diagnostic.CONTROL_DETECTION_TIME_EXPIRED


def test_D12_a_peer_is_held_to_a_second_until_we_are_up_whatever_it_announces() -> None:
    bench = Bench()
    bench.wait(0)
    bench.hear(State.DOWN)
    # A peer like OVN announces 100 ms at once, and yet answers only when a packet wakes it.
    repeated = packets(bench.wait(2_999_999))
    assert len(repeated) >= 2
    assert {packet.state for packet in repeated} == {State.INIT}
    assert changes(bench.wait(1)) == [(State.INIT, State.DOWN)]
    assert bench.session.local_diag is Diagnostic.CONTROL_DETECTION_TIME_EXPIRED


def test_C4_E10_the_peers_discriminator_is_kept_for_a_detection_time_and_not_longer() -> None:
    bench = Bench().bring_up()
    bench.hear(State.DOWN)
    assert bench.session.state is State.DOWN
    bench.wait(2_999_999)
    assert bench.session.remote_discr == PEER_DISCR
    bench.session.remote_min_rx_us = 100_000
    bench.wait(1)
    assert bench.session.remote_discr == 0
    assert bench.session.remote_min_rx_us == 1, "E10"
    assert bench.session.local_diag is Diagnostic.NEIGHBOR_SIGNALED_SESSION_DOWN, "D12"


def test_C3_a_new_discriminator_of_the_peer_is_followed_at_once() -> None:
    bench = Bench().bring_up()
    (packet,) = packets(bench.hear(State.UP, my_discr=1234))
    assert packet.your_discr == 1234
    assert bench.session.state is State.UP


def test_D15_a_peer_that_wants_nothing_gets_only_answers() -> None:
    bench = Bench().bring_up()
    bench.hear(State.UP, required_min_rx_us=0)
    for _ in range(20):
        assert packets(bench.wait(200_000)) == []
        (answer,) = packets(bench.hear(State.UP, poll=True))
        assert answer.final
    bench.hear(State.UP, required_min_rx_us=100_000)
    assert len(packets(bench.wait(100_000))) >= 1


def test_D17_a_change_is_sent_at_once_and_the_schedule_starts_again_there() -> None:
    bench = Bench().bring_up()
    bench.wait(10_000)
    (packet,) = packets(bench.hear(State.DOWN))
    assert (packet.state, packet.diagnostic) == (State.DOWN, 3)
    # The rest of the fast interval would have ended long before.
    assert packets(bench.wait(299_000)) == []


def test_B10_an_authenticated_packet_is_discarded_and_moves_nothing() -> None:
    bench = Bench().bring_up()
    before = bench.session.due_us, bench.session.heard_us
    bench.now_us += 5
    assert bench.hear(State.DOWN, my_discr=5, auth=b"\x01\x04\x01x") == ()
    assert bench.session.state is State.UP
    assert bench.session.remote_discr == PEER_DISCR
    assert (bench.session.due_us, bench.session.heard_us) == before
    assert bench.session.discards[Discard.AUTH_UNEXPECTED] == 1


def test_B16_in_admin_down_packets_are_noted_and_discarded() -> None:
    bench = Bench(replace(FAST, enabled=False))
    bench.wait(0)
    for state in State:
        assert changes(bench.hear(state)) == []
        assert bench.session.remote_state is state
    assert bench.hear(State.UP, poll=True) == (), "discarded before the Poll bit is looked at"
    assert bench.session.discards[Discard.ADMIN_DOWN] == 5
    assert bench.session.rx_packets == 0
    assert bench.session.remote_discr == PEER_DISCR


def test_B17_admin_down_of_the_peer_takes_us_down_with_diagnostic_3() -> None:
    bench = Bench().bring_up()
    assert changes(bench.hear(State.ADMIN_DOWN)) == [(State.UP, State.DOWN)]
    assert bench.session.local_diag is Diagnostic.NEIGHBOR_SIGNALED_SESSION_DOWN
    assert bench.hear(State.ADMIN_DOWN) == ()


def test_B15_each_packet_can_move_the_detection_time() -> None:
    bench = Bench().bring_up()
    bench.hear(State.UP, desired_min_tx_us=200_000, detect_mult=5)
    assert bench.session.detection_time_us == 1_000_000


def test_B21_silence_is_not_judged_beyond_what_was_read() -> None:
    bench = Bench().bring_up()
    heard = bench.now_us
    bench.wait(400_000, heard_until_us=heard + 299_999)
    assert bench.session.state is State.UP
    # The packet waited in the socket; it arrived in time.
    bench.session.receive(bench.peer, heard + 250_000, bench.now_us)
    bench.wait(0)
    assert bench.session.state is State.UP
    bench.wait(150_000)
    assert bench.session.state is State.DOWN


def test_B21_the_time_of_arrival_counts_and_not_that_of_reading() -> None:
    bench = Bench().bring_up()
    arrived = bench.now_us + 10_000
    bench.now_us += 90_000
    bench.session.receive(bench.peer, arrived, bench.now_us)
    bench.wait(arrived + 299_999 - bench.now_us)
    assert bench.session.state is State.UP
    bench.wait(1)
    assert bench.session.state is State.DOWN


def test_E4_E6_disable_and_enable() -> None:
    bench = Bench().bring_up()
    config = replace(FAST, enabled=False, disabled_diag=Diagnostic.PATH_DOWN)
    actions = bench.session.configure(config, bench.now_us)
    assert changes(actions) == [(State.UP, State.ADMIN_DOWN)]
    (packet,) = packets(actions)
    assert (packet.state, packet.diagnostic) == (State.ADMIN_DOWN, 5), "E6"
    actions = bench.session.configure(FAST, bench.now_us)
    assert changes(actions) == [(State.ADMIN_DOWN, State.DOWN)]
    assert packets(actions)[0].state is State.DOWN


def test_E5_admin_down_goes_on_once_a_second() -> None:
    bench = Bench().bring_up()
    bench.session.disable(Diagnostic.ADMINISTRATIVELY_DOWN, bench.now_us, "test")
    sent = packets(bench.wait(10_000_000))
    assert {p.state for p in sent} == {State.ADMIN_DOWN}
    assert 10 <= len(sent) <= 14


def test_E5_a_retired_session_stays_for_the_peers_detection_time() -> None:
    # The peer waits for three of the intervals that we used toward it while Up.
    bench = Bench(replace(FAST, detect_mult=4), required_min_rx_us=150_000).bring_up()
    (change, transmit) = bench.session.retire(bench.now_us, "test")
    assert isinstance(change, StateChanged)
    assert isinstance(transmit, Transmit)
    assert Ended() not in bench.wait(599_999)
    assert bench.wait(1) == (Ended(),)


def test_E5_a_session_that_nobody_heard_is_retired_at_once() -> None:
    bench = Bench()
    bench.wait(0)
    bench.session.retire(bench.now_us, "test")
    assert bench.wait(0) == (Ended(),)


def test_E5_time_spent_in_admin_down_counts() -> None:
    bench = Bench().bring_up()
    bench.session.disable(Diagnostic.PATH_DOWN, bench.now_us, "test")
    bench.wait(200_000)
    bench.hear(State.DOWN)
    bench.session.retire(bench.now_us, "test")
    assert bench.session.retire_us == bench.now_us + 100_000


def test_E5_a_session_that_returns_before_the_end_goes_on() -> None:
    bench = Bench().bring_up()
    bench.session.retire(bench.now_us, "test")
    bench.session.configure(FAST, bench.now_us)
    assert bench.session.retire_us == NEVER_US
    assert bench.session.state is State.DOWN


def test_E11_only_configuration_leaves_admin_down() -> None:
    bench = Bench(replace(FAST, enabled=False))
    bench.wait(0)
    for state in State:
        bench.hear(state)
        bench.wait(10_000_000)
        assert bench.session.state is State.ADMIN_DOWN


def test_F2_a_peer_in_demand_mode_gets_no_periodic_packets_while_both_are_up() -> None:
    bench = Bench().bring_up()
    bench.hear(State.UP, demand=True)
    assert packets(bench.wait(290_000)) == []
    (answer,) = packets(bench.hear(State.UP, poll=True))
    assert answer.final
    bench.hear(State.UP, demand=False)
    assert packets(bench.wait(100_000)) != []


def test_F2_demand_counts_only_while_both_are_up() -> None:
    bench = Bench(demand=True)
    bench.wait(0)
    bench.hear(State.DOWN)
    assert packets(bench.wait(299_000)) == []
    bench.hear(State.DOWN)
    sent = []
    for _ in range(10):
        sent += packets(bench.wait(200_000))
        bench.hear(State.DOWN)
    assert len(sent) >= 1


def test_F3_a_change_while_the_peer_is_in_demand_mode_is_polled_for() -> None:
    bench = Bench().bring_up()
    bench.hear(State.UP, demand=True)
    actions = bench.session.configure(replace(FAST, detect_mult=7), bench.now_us)
    assert [p.detect_mult for p in packets(actions)] == [7]
    assert {(p.detect_mult, p.poll) for p in packets(bench.wait(200_000))} == {(7, True)}
    bench.hear(State.UP, final=True)
    assert packets(bench.wait(200_000)) == []


def test_B13_F5_no_echo_is_offered_and_none_is_minded() -> None:
    bench = Bench(required_min_echo_rx_us=50_000).bring_up()
    assert {p.required_min_echo_rx_us for p in packets(bench.wait(200_000))} == {0}


def test_A3_reserved_diagnostics_of_the_peer_are_ignored() -> None:
    bench = Bench().bring_up()
    bench.hear(State.UP, diagnostic=31)
    assert bench.session.remote_diag is Diagnostic.NO_DIAGNOSTIC
    bench.hear(State.UP, diagnostic=8)
    assert bench.session.remote_diag is Diagnostic.REVERSE_CONCATENATED_PATH_DOWN


def test_D14_a_new_multiplier_of_one_changes_the_spacing() -> None:
    bench = Bench(draw=0.999999).bring_up()
    bench.session.configure(replace(FAST, detect_mult=1), bench.now_us)
    start = bench.now_us
    times = []
    while len(times) < 5:
        if packets(bench.wait(1_000)):
            times.append(bench.now_us)
        if (bench.now_us - start) % 50_000 == 0:
            bench.hear(State.UP)
    assert all(b - a <= 91_000 for a, b in pairwise(times))


def test_the_reason_of_the_last_change_is_a_sentence() -> None:
    bench = Bench().bring_up()
    bench.wait(300_000)
    change = bench.session.last_change
    assert change is not None
    assert change.reason == "nothing heard for 300 ms"
    assert change.at_us == bench.now_us


def test_steady_packets_allocate_nothing_and_move_only_the_silence() -> None:
    bench = Bench().bring_up()
    first = bench.session.receive(bench.peer, bench.now_us, bench.now_us)
    bench.now_us += 90_000
    second = bench.session.receive(bench.peer, bench.now_us, bench.now_us)
    assert first is second
    assert first == ()
    bench.wait(299_999)
    assert bench.session.state is State.UP


@pytest.mark.parametrize("state", [State.DOWN, State.INIT])
def test_C5_a_session_that_is_not_up_keeps_what_it_knows_while_packets_come(state: State) -> None:
    bench = Bench()
    bench.wait(0)
    for _ in range(50):
        bench.hear(State.UP if state is State.DOWN else State.DOWN)
        bench.wait(90_000)
        assert bench.session.state is state
        assert bench.session.remote_discr == PEER_DISCR
