"""``bfdd-control`` line by line: what Kube-OVN's scripts send, and the texts that they match.

The expectations are recorded from the contract of Kube-OVN's controller with the image, not from
our code.
"""

from dataclasses import replace

import pytest

from bfd.config import SessionConfig, SessionKey
from bfd.fsm import Diagnostic, State
from bfd.snapshot import StateChange
from tests.support.snapshots import engine_with, session_in
from vegd.compat.openbfdd import command, is_failure
from vegd.compat.wishes import Timers, Wishes

V4, V6, PEER4, PEER6 = "10.16.0.2", "fd00::2", "10.255.255.255", "fd00::ffff"
KEY4, KEY6 = SessionKey(V4, PEER4), SessionKey(V6, PEER6)
BOTH = Wishes((V4, V6)).allow(PEER4).allow(PEER6)
ENGINE = engine_with(session_in(State.DOWN, V6, PEER6), session_in(State.UP, V4, PEER4))
UP_SINCE = StateChange(1_000.0, State.INIT, State.UP, Diagnostic.NO_DIAGNOSTIC, "")
DETAILED = engine_with(
    session_in(
        State.UP,
        V4,
        PEER4,
        config=SessionConfig(KEY4, 200_000, 300_000, 5),
        remote_state=State.UP,
        local_diag=Diagnostic.CONTROL_DETECTION_TIME_EXPIRED,
        remote_diag=Diagnostic.NEIGHBOR_SIGNALED_SESSION_DOWN,
        local_discr=2019835707,
        remote_discr=77,
        tx_interval_us=1_000_000,
        detection_time_us=3_000_000,
        remote_detect_mult=3,
        remote_desired_min_tx_us=1_000_000,
        remote_min_rx_us=500_000,
        last_change=UP_SINCE,
    )
)


def said(line: str, wishes: Wishes = BOTH) -> str:
    return command(line.split(), wishes, ENGINE, 4_725.5).text


def wanted(line: str, wishes: Wishes = BOTH) -> Wishes:
    reply = command(line.split(), wishes, ENGINE, 0.0)
    assert not is_failure(reply.text), reply.text
    return reply.wishes


def test_status_lists_the_sessions_on_one_line_each() -> None:
    assert said("status") == (
        "There are 2 sessions:\n"
        "Session 1\n"
        " id=1 local=10.16.0.2 (a) remote=10.255.255.255 state=Up\n"
        "Session 2\n"
        " id=2 local=fd00::2 (a) remote=fd00::ffff state=Down"
    )


def test_status_without_sessions_is_what_the_health_check_looks_for() -> None:
    assert said("status", Wishes((V4,))) == "There are 0 sessions:"
    assert command(["status"], BOTH, engine_with(), 0.0).text == "There are 0 sessions:"


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (State.UP, "Up"),
        (State.INIT, "Init"),
        (State.DOWN, "Down"),
        (State.ADMIN_DOWN, "AdminDown"),
    ],
)
def test_each_state_has_openbfdds_word(state: State, word: str) -> None:
    engine = engine_with(session_in(state, V4, PEER4))
    assert command(["status"], BOTH, engine, 0.0).text.endswith(f" state={word}")


@pytest.mark.parametrize("line", [f"status remote {PEER4} local {V4}", "status 1"])
def test_status_of_one_session_is_a_field_a_line(line: str) -> None:
    assert said(line) == " id=1\n local=10.16.0.2 (a)\n remote=10.255.255.255\n state=Up"


def test_status_at_level_4_tells_everything() -> None:
    expected = """\
There are 1 sessions:
Session 1
 id=1
 local=10.16.0.2 (active)
 remote=10.255.255.255
 LocalState=Up<Control Detection Time Expired>
 RemoteState=Up<Neighbor Signaled Session Down>
 LocalId=2019835707
 RemoteId=77
 Time=Up(01:02:05.500)
 CurrentTxInterval=1,000,000 us
 CurrentRxTimeout=3,000,000 us
 LocalDetectMulti=5
 LocalDesiredMinTx=200,000 us
 LocalRequiredMinRx=300,000 us
 RemoteDetectMulti=3
 RemoteDesiredMinTx=1,000,000 us
 RemoteRequiredMinRx=500,000 us"""
    line = ["status", "all", "level", "4"]
    assert command(line, BOTH, DETAILED, 4_725.5).text == expected
    brief = command([*line, "brief", "compact"], BOTH, DETAILED, 4_725.5).text
    assert brief.splitlines()[2].startswith(
        " id=1 local=10.16.0.2 (a) remote=10.255.255.255 LocalState=Up<1> RemoteState=Up<3> "
    )
    assert brief.endswith("RemoteRequiredMinRx=500000 us")


def test_two_sessions_in_detail_are_a_line_apart() -> None:
    assert "state=Up\n\nSession 2\n id=2\n" in said("status all level 1")
    assert "\n\n" not in said("status")


def test_the_lines_of_the_prestart_script_configure_a_session() -> None:
    wishes = Wishes((V4, V6))
    for line, text in (
        ("session new set mintx 100 ms", "Attempting to set mintx to 100,000 us."),
        ("session new set minrx 2 s", "Attempting to set minrx to 2,000,000 us."),
        ("session new set multi 5", "Attempting to set multi to 5."),
        (f"allow {PEER4}", "Allowing connections from 10.255.255.255"),
        ("allow FD00:0::FFFF", "Allowing connections from fd00::ffff"),
        ("log type command no", "Log type command set to no, was no"),
    ):
        reply = command(line.split(), wishes, ENGINE, 0.0)
        assert reply.text == text
        wishes = reply.wishes
    assert wishes.configs() == tuple(
        SessionConfig(key, 100_000, 2_000_000, 5, min_ttl=254) for key in (KEY4, KEY6)
    )


def test_new_values_leave_the_sessions_that_are_there_alone() -> None:
    later = wanted("session new set mintx 50 ms")
    assert later.configs() == BOTH.configs()
    assert later.allow(PEER4).configs() == BOTH.configs()
    assert wanted("session all reset", later).sessions[KEY4].timers == Timers(50_000)


def test_a_reset_session_has_another_number() -> None:
    line = f"session local {V4} remote {PEER4} reset"
    assert said(line) == "Attempting to reset session(s)."
    after = wanted(line)
    assert {key: each.number for key, each in after.sessions.items()} == {KEY4: 3, KEY6: 2}
    assert after.begun_anew(BOTH) == {KEY4}


def test_block_keeps_the_session_and_kill_then_ends_it() -> None:
    assert said(f"block {PEER4}") == (
        "Blocking connections from 10.255.255.255. This will not terminate any ongoing session."
    )
    blocked = wanted(f"block {PEER4}")
    assert blocked.configs() == BOTH.configs()
    assert said("session all kill") == "Attempting to kill session(s)."
    assert set(wanted("session all kill", blocked).sessions) == {KEY6}
    assert set(wanted("session all kill").sessions) == {KEY4, KEY6}
    assert set(wanted("session 1 kill", blocked).sessions) == {KEY6}


def test_commands_are_logged_when_asked_for() -> None:
    logged = wanted("log type command yes")
    assert logged.log_commands
    assert said("log type command no", logged) == "Log type command set to no, was yes"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("", "Must supply a command."),
        ("rubbish", "Unknown command <rubbish>"),
        ("allow", "Must supply an IPv4 or IPv6 address."),
        ("allow here", "Must supply an IPv4 or IPv6 address: <here> is none."),
        ("block 10.0.0.256", "Must supply an IPv4 or IPv6 address: <10.0.0.256> is none."),
        (f"allow {V4}", f"Unable to complete request: peer: {V4} is the local address; "),
        ("session new set mintx 100", "Must supply a unit after the value 100: 's', 'ms' or 'us'"),
        ("session new set mintx 1 h", "Must supply a unit after the value 1: 's', 'ms' or 'us'"),
        ("session new set mintx x ms", "Must supply an integer and a unit for 'set mintx': <x>."),
        ("session new set mintx 0 ms", "Unable to complete request: mintx: 0 is not a whole "),
        ("session new set minrx 100 us", "Unable to complete request: minrx: 100 is not a "),
        ("session new set minrx 5000000 s", "Unable to complete request: minrx: 5000000000000 "),
        ("session new set multi 256", "Must supply a number from 1 to 255 for 'set multi': <256>."),
        ("session new set multi ٣", "Must supply a number from 1 to 255 for 'set multi': <٣>."),
        ("session new kill", "Must supply item to set: 'mintx', 'minrx' or 'multi'"),
        ("session", "Must supply 'new', 'all', session id or 'remote ip local ip'."),
        ("session all", "Must supply session action: 'kill' or 'reset'."),
        ("session all suspend", "Unable to complete request: the session action <suspend> is not"),
        ("session 7 reset", "No session with id=7."),
        (
            f"session local {V4} remote 10.0.0.1 reset",
            f"No session with local ip={V4} and remote ip=10.0.0.1.",
        ),
        ("status 9", "No session with id=9."),
        ("status all level", "Must supply 'level' and an integer, "),
        ("status everything", "Must supply 'all', session id or 'remote ip local ip'. Unknown <e"),
        ("log level debug", "Unable to complete request: of the log only 'type command yes|no' "),
    ],
)
def test_what_cannot_be_done_is_refused_in_words_that_are_recognised(line: str, text: str) -> None:
    reply = command(line.split(), BOTH, ENGINE, 0.0)
    assert reply.text.startswith(text)
    assert is_failure(reply.text)
    assert reply.wishes == BOTH


def test_without_an_engine_there_is_no_status_but_wishes_are_taken() -> None:
    reply = command(["status"], BOTH, None, 0.0)
    assert reply.text == "Unable to complete request because the BFD engine does not answer."
    assert command(["allow", "10.0.0.9"], BOTH, None, 0.0).wishes != BOTH


def test_sessions_that_nobody_wants_are_not_shown() -> None:
    engine = replace(ENGINE, sessions=(*ENGINE.sessions, session_in(State.UP, V4, "10.0.0.9")))
    assert command(["status"], BOTH, engine, 0.0).text == said("status")
