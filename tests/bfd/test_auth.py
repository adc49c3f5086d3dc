"""Authentication (checklist G, A5, A6, B10, B11, C6): sections, refusals, sequence numbers."""

import json
import random
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bfd.auth import MOST_KEYS, AuthConfig, Authentication, AuthKey, AuthType, Transition
from bfd.discriminators import Discriminators
from bfd.engine import Engine
from bfd.fsm import State
from bfd.packet import ControlPacket, Discard, RxMeta, decode, encode
from bfd.session import Session
from bfd.snapshot import config_from_json, config_to_json, describe
from tests.support.bfd import FAST, KEY, Bench, WithoutShortcut, packets
from tests.support.bfd_auth import (
    DIGESTS,
    METICULOUS,
    AuthBench,
    a_key,
    authenticated,
    signed,
)

UP = ControlPacket(State.UP, 77, 42, 100_000, 100_000)


def judge(authentication: Authentication, wire: bytes, at_us: int = 0) -> Discard | None:
    packet = decode(wire)
    assert isinstance(packet, ControlPacket)
    return authentication.receive(packet, at_us)


def using(*keys: AuthKey, sequence: int = 0) -> Authentication:
    return Authentication(AuthConfig(keys, keys[0].key_id), sequence)


def made_by(authentication: Authentication, packet: ControlPacket = UP) -> bytes:
    return authentication.sign(encode(packet._replace(auth=authentication.section)))


# Sections ---------------------------------------------------------------------------------------


def test_A5_a_simple_password_section() -> None:
    key = a_key(7, AuthType.SIMPLE_PASSWORD, b"secret")
    assert made_by(using(key))[24:].hex(" ") == "01 09 07 73 65 63 72 65 74"


# The digests are those of md5sum and sha1sum for header, section and padded key.
VECTORS = [
    (AuthType.KEYED_MD5, "30", "02180500 00000009 a4a3e84ea6368b0d050f9c284d300c3e"),
    (AuthType.METICULOUS_KEYED_MD5, "30", "03180500 00000009 2932b63b2d7d623fb1f46d42ea084f0a"),
    (AuthType.KEYED_SHA1, "34", "041c0500 00000009 161008eebce3047d02c20dc4ec79cd7fc46ef856"),
    (
        AuthType.METICULOUS_KEYED_SHA1,
        "34",
        "051c0500 00000009 16dd3f8df01b74cbebe7eff89f0de81d914d9903",
    ),
]


@pytest.mark.parametrize(("kind", "length", "section"), VECTORS)
def test_A6_golden_vectors(kind: AuthType, length: str, section: str) -> None:
    header = f"20c403{length} 0000004d 0000002a 000186a0 000186a0 00000000"
    wire = made_by(using(a_key(5, kind, b"open sesame"), sequence=9))
    assert wire == bytes.fromhex(header + section)
    assert judge(using(a_key(5, kind, b"open sesame")), wire) is None


@pytest.mark.parametrize("kind", AuthType)
@given(data=st.data())
def test_G2_what_we_send_is_what_the_rfc_describes(kind: AuthType, data: st.DataObject) -> None:
    secret = data.draw(st.binary(min_size=1, max_size=kind.longest_secret))
    key = a_key(data.draw(st.integers(0, 255)), kind, secret)
    sequence = data.draw(st.integers(0, 2**32 - 1))
    packet = UP._replace(poll=data.draw(st.booleans()), diagnostic=data.draw(st.integers(0, 31)))
    ours = made_by(using(key, sequence=sequence), packet)
    assert ours == signed(packet, key, sequence)
    assert judge(using(key), ours) is None


@pytest.mark.parametrize("kind", AuthType)
def test_A6_another_decoder_reads_the_same(kind: AuthType) -> None:
    from scapy.contrib.bfd import BFD  # noqa: PLC0415 - takes a second

    wire = made_by(using(a_key(9, kind, b"x" * 16), sequence=0x01020304))
    read = BFD(wire)
    section = read.optional_auth
    assert (read.flags.A, read.len, section.auth_type) == (1, len(wire), kind)
    assert (section.auth_len, section.auth_keyid) == (len(wire) - 24, 9)
    if kind is AuthType.SIMPLE_PASSWORD:
        assert section.auth_key == b"x" * 16
    else:
        assert (section.reserved, section.sequence_number) == (0, 0x01020304)
        assert section.auth_key.to_bytes(len(wire) - 32, "big") == wire[32:]


def test_A6_the_reserved_byte_is_ignored() -> None:
    for kind in DIGESTS:
        assert judge(using(a_key(1, kind)), signed(UP, a_key(1, kind), 5, reserved=0xEE)) is None


@pytest.mark.parametrize("kind", AuthType)
def test_G8_keys_have_one_byte_to_as_many_as_the_type_takes(kind: AuthType) -> None:
    longest = 20 if "SHA1" in kind.name else 16
    for size in (1, longest):
        key = a_key(1, kind, b"k" * size)
        assert judge(using(key), signed(UP, key, 1)) is None
    with pytest.raises(ValueError, match=f"at most {longest} bytes"):
        AuthConfig((a_key(1, kind, b"k" * (longest + 1)),), 1)
    with pytest.raises(ValueError, match="without its secret"):
        using(a_key(1, kind, b""))


# Refusals ---------------------------------------------------------------------------------------


def refusals(kind: AuthType) -> Iterator[tuple[bytes, Discard]]:
    """Sections that are wrong in one respect, for a session with the key 1 of a kind."""
    good = signed(UP, a_key(1, kind), 5)[24:]
    other = AuthType.KEYED_MD5 if kind is AuthType.KEYED_SHA1 else AuthType.KEYED_SHA1
    yield bytes([0]) + good[1:], Discard.AUTH_TYPE
    yield bytes([6]) + good[1:], Discard.AUTH_TYPE
    yield signed(UP, a_key(1, other), 5)[24:], Discard.AUTH_TYPE
    yield good[:1] + bytes([good[1] - 1]) + good[2:], Discard.AUTH_LENGTH
    yield good[:1] + bytes([good[1] + 1]) + good[2:], Discard.AUTH_LENGTH
    yield good[:2], Discard.AUTH_LENGTH
    yield bytes([kind, 2]), Discard.AUTH_LENGTH
    yield bytes([kind, 3, 1]), Discard.AUTH_LENGTH
    yield bytes([kind, 31, 1]) + bytes(28), Discard.AUTH_LENGTH
    yield signed(UP, a_key(2, kind), 5)[24:], Discard.AUTH_KEY_ID
    yield signed(UP, a_key(1, kind, b"other sesame"), 5)[24:], Discard.AUTH_DIGEST
    yield signed(UP, a_key(1, kind, b"open sesam"), 5)[24:], Discard.AUTH_DIGEST


@pytest.mark.parametrize("kind", AuthType)
def test_B11_G1_each_mistake_has_its_reason_and_changes_nothing(kind: AuthType) -> None:
    for section, why in refusals(kind):
        bench = AuthBench(a_key(1, kind)).bring_up()
        session = bench.session
        before = (session.due_us, session.heard_us, session.rx_packets, session.remote_discr)
        bench.now_us += 1000
        packet = bench.peer._replace(state=State.DOWN, my_discr=5, auth=section)
        assert session.receive(packet, bench.now_us, bench.now_us) == ()
        assert session.state is State.UP
        after = (session.due_us, session.heard_us, session.rx_packets, session.remote_discr)
        assert after == before
        assert {w for w in Discard if session.discards[w]} == {why}, section.hex()


@pytest.mark.parametrize("kind", AuthType)
def test_B11_the_right_id_under_the_wrong_type_is_a_wrong_type(kind: AuthType) -> None:
    keys = [a_key(n, each) for n, each in enumerate(AuthType)]
    mine = next(key for key in keys if key.type is kind)
    for key in keys:
        wire = signed(UP, replace(key, key_id=mine.key_id), 5)
        assert judge(using(*keys), wire) is (None if key is mine else Discard.AUTH_TYPE)


@pytest.mark.parametrize("kind", DIGESTS)
@given(place=st.integers(8, 8 * 52 - 1))
def test_G2_a_single_changed_bit_is_noticed(kind: AuthType, place: int) -> None:
    wire = bytearray(signed(UP, a_key(1, kind), 5))
    place %= 8 * len(wire)
    wire[place // 8] ^= 1 << place % 8
    packet = decode(bytes(wire))
    if isinstance(packet, ControlPacket):
        assert using(a_key(1, kind)).receive(packet, 0) is not None


def test_B10_without_authentication_on_one_side_only() -> None:
    bench = AuthBench(a_key()).bring_up()
    bench.key = None
    bench.hear(State.UP)
    assert bench.session.discards[Discard.AUTH_MISSING] == 1
    plain = Bench().bring_up()
    plain.session.receive(decode_packet(signed(plain.peer, a_key(), 1)), plain.now_us, plain.now_us)
    assert plain.session.discards[Discard.AUTH_UNEXPECTED] == 1


def decode_packet(wire: bytes) -> ControlPacket:
    packet = decode(wire)
    assert isinstance(packet, ControlPacket)
    return packet


@given(tails=st.lists(st.binary(min_size=2, max_size=40), max_size=20))
def test_B11_no_packet_with_the_A_bit_ends_reception(tails: list[bytes]) -> None:
    for config in (FAST, authenticated(a_key())):
        engine = Engine(Discriminators(bytes(32)), lambda: 0.5, lambda _index: "eth0")
        session = engine.put(config, 10**9).session
        meta = RxMeta(KEY.local, KEY.peer, 255, 2, 10**9)
        down = ControlPacket(State.DOWN, 77, 0)
        for tail in tails:
            engine.receive(encode(down._replace(auth=tail)), meta, 10**9)
        assert sum(session.discards) == len(tails)
        good = encode(down) if config is FAST else signed(down, a_key(), 1)
        engine.receive(good, meta, 10**9)
        assert session.state is State.INIT


def test_B20_refused_packets_do_not_keep_the_session_alive() -> None:
    bench = AuthBench(a_key()).bring_up()
    bench.key = a_key(secret=b"wrong")
    for _ in range(3):
        bench.wait(99_000)
        bench.hear(State.UP)
        assert bench.session.state is State.UP
    bench.wait(3_000)
    assert bench.session.state is State.DOWN


# Sequence numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", DIGESTS)
@pytest.mark.parametrize("last", [0, 1000, 2**31 - 2, 2**32 - 10, 2**32 - 2, 2**32 - 1])
@pytest.mark.parametrize("mult", [1, 3, 255])
def test_G3_the_window_of_sequence_numbers(kind: AuthType, last: int, mult: int) -> None:
    packet = UP._replace(detect_mult=mult)
    for ahead in (-(2**31), -2, -1, 0, 1, 2, 3 * mult - 1, 3 * mult, 3 * mult + 1, 2**31):
        authentication = using(a_key(1, kind))
        assert judge(authentication, signed(packet, a_key(1, kind), last)) is None
        fits = (1 if kind in METICULOUS else 0) <= ahead <= 3 * mult
        why = judge(authentication, signed(packet, a_key(1, kind), last + ahead))
        assert why is (None if fits else Discard.AUTH_SEQUENCE), ahead
        assert authentication.rcv_auth_seq == (last + ahead if fits else last) % 2**32


@pytest.mark.parametrize("kind", DIGESTS)
def test_G4_the_first_number_is_learned_only_from_a_right_digest(kind: AuthType) -> None:
    bench = AuthBench(a_key(1, kind, b"forged"), config=authenticated(a_key(1, kind)))
    bench.hear(State.DOWN, sequence=5_000_000)
    assert bench.session.authentication is not None
    assert not bench.session.authentication.auth_seq_known
    bench.key = a_key(1, kind)
    bench.hear(State.DOWN, sequence=17)
    assert bench.session.state is State.INIT
    assert bench.session.authentication.rcv_auth_seq == 17


@pytest.mark.parametrize("kind", DIGESTS)
def test_G3_an_old_packet_is_not_believed_again(kind: AuthType) -> None:
    bench = AuthBench(a_key(1, kind))
    bench.hear(State.DOWN)
    old = bench.peer, bench.sequence - 1
    bench.bring_up()
    packet = old[0]._replace(auth=signed(old[0], a_key(1, kind), old[1])[24:])
    assert bench.session.receive(packet, bench.now_us, bench.now_us) == ()
    assert bench.session.state is State.UP
    assert bench.session.discards[Discard.AUTH_SEQUENCE] == 1


@pytest.mark.parametrize("kind", DIGESTS)
def test_G3_the_same_packet_again_counts_only_where_numbers_may_stay(kind: AuthType) -> None:
    bench = AuthBench(a_key(1, kind)).bring_up()
    last = bench.sequence - 1
    before = bench.session.rx_packets
    for _ in range(5):
        bench.now_us += 10_000
        bench.hear(State.UP, sequence=last)
    accepted = bench.session.rx_packets - before
    assert accepted == (0 if kind in METICULOUS else 5)
    assert bench.session.discards[Discard.AUTH_SEQUENCE] == 5 - accepted


@pytest.mark.parametrize("kind", AuthType)
def test_G5_meticulous_counts_each_packet_and_keyed_each_change(kind: AuthType) -> None:
    bench = AuthBench(a_key(1, kind)).bring_up()
    session = bench.session
    sent = []
    for _ in range(5):
        while not (actions := bench.wait(1000)):
            bench.hear(State.UP)
        sent += packets(actions)
    numbers = [int.from_bytes(packet.auth[4:8], "big") for packet in sent]
    if kind is AuthType.SIMPLE_PASSWORD:
        assert {packet.auth for packet in sent} == {signed(UP, a_key(1, kind))[24:]}
        return
    step = 1 if kind in METICULOUS else 0
    assert numbers == [(numbers[0] + step * n) % 2**32 for n in range(5)]
    (final,) = packets(bench.hear(State.UP, poll=True))
    (down,) = packets(bench.hear(State.DOWN))
    after = [int.from_bytes(packet.auth[4:8], "big") for packet in (final, down)]
    assert after == [(numbers[-1] + 1) % 2**32, (numbers[-1] + 2) % 2**32]
    assert session.authentication is not None
    for packet in (*sent, final, down):
        assert judge(using(a_key(1, kind)), encode(packet)) is None


def test_G5_numbers_wrap() -> None:
    authentication = using(a_key(), sequence=2**32 - 1)
    numbers = [made_by(authentication)[28:32].hex() for _ in range(3)]
    assert numbers == ["ffffffff", "00000000", "00000001"]


def test_C6_the_first_number_is_random() -> None:
    draws = iter([0.0, 0.25, 1 - 2**-53])
    numbers = []
    for draw in draws:
        session = Session(authenticated(a_key()), 42, lambda draw=draw: draw, 0)  # type: ignore[misc]
        assert session.authentication is not None
        numbers.append(session.authentication.xmit_auth_seq)
    assert numbers == [0, 2**30, 2**32 - 1]


@pytest.mark.parametrize("kind", DIGESTS)
def test_C6_the_number_is_forgotten_after_two_detection_times_of_silence(kind: AuthType) -> None:
    for silence_us, forgotten in [(599_999, False), (600_000, True)]:
        bench = AuthBench(a_key(1, kind)).bring_up()
        assert bench.session.detection_time_us == 300_000
        bench.wait(silence_us)
        assert bench.session.state is State.DOWN
        bench.hear(State.DOWN, sequence=3, your_discr=0)
        assert (bench.session.state is State.INIT) is forgotten
        assert bench.session.discards[Discard.AUTH_SEQUENCE] == (not forgotten)


def test_C6_packets_that_are_refused_do_not_keep_the_number() -> None:
    bench = AuthBench(a_key()).bring_up()
    for _ in range(6):
        bench.wait(100_000)
        bench.hear(State.DOWN, sequence=3)
    assert bench.session.state is State.INIT


# Configuration ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AuthConfig((), 1), "auth.keys: 0 keys; give 1 to 8"),
        (lambda: AuthConfig(tuple(a_key(n) for n in range(MOST_KEYS + 1)), 1), "9 keys"),
        (lambda: AuthConfig((a_key(256),), 256), "auth.keys[0].key_id: 256 is not from 0 to 255"),
        (lambda: AuthConfig((a_key(), a_key()), 1), "auth.keys[1].key_id: 1 is given twice"),
        (lambda: AuthConfig((a_key(),), 2), "auth.send: 2 is none of the key ids [1]"),
        (
            lambda: AuthConfig((replace(a_key(), file="keys/1"),), 1),
            "auth.keys[0].file: 'keys/1' is not an absolute path",
        ),
        (lambda: AuthConfig((replace(a_key(), file="/" + "k" * 255),), 1), "longer than 255"),
    ],
)
def test_G8_a_bad_configuration_is_named(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


@pytest.mark.parametrize(
    "document",
    [
        5,
        {},
        {"keys": [], "send": 1, "transition": None},
        {"keys": [5], "send": 1, "transition": None},
        {"keys": [{"key_id": 1, "type": "rot13", "file": "/k"}], "send": 1, "transition": None},
        {"keys": [{"key_id": 1, "file": "/k"}], "send": 1, "transition": None},
        {
            "keys": [{"key_id": 1, "type": "keyed-md5", "file": "/k"}],
            "send": 1,
            "transition": "x",
        },
        {"keys": [{"key_id": 1, "type": "keyed-md5", "file": 5}], "send": 1, "transition": None},
    ],
)
def test_a_bad_configuration_from_json_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match=r"auth|Transition"):
        config_from_json(config_to_json(FAST) | {"auth": document})


def test_G6_secrets_are_neither_printed_nor_in_any_json() -> None:
    secret = b"open sesame"
    config = authenticated(a_key(secret=secret), a_key(2, secret=secret))
    bench = AuthBench(a_key(secret=secret), config=config).bring_up()
    snapshot = describe(bench.session, bench.now_us, 0.0)
    shown = f"{config!r} {snapshot!r} {json.dumps(snapshot.to_json())} {config.auth}"
    for form in (secret.decode(), secret.hex(), repr(secret)):
        assert form not in shown
    assert snapshot.auth_in_use
    without = replace(config.auth, keys=tuple(replace(k, secret=b"") for k in config.auth.keys))  # type: ignore[union-attr,type-var]
    assert config_from_json(config_to_json(config)).auth == without


def test_a_session_with_as_much_authentication_as_possible_fits_into_a_message() -> None:
    keys = [replace(a_key(n), file="/" + "k" * 254) for n in range(MOST_KEYS)]
    config = authenticated(*keys, transition=Transition.DISABLING)
    bench = AuthBench(keys[0], config=config).bring_up()
    snapshot = describe(bench.session, bench.now_us, 0.0)
    # Three of them make a page, which has to fit into a line.
    assert len(json.dumps(snapshot.to_json())) < 5000


# Rollover and transitions of one session --------------------------------------------------------


def test_G7_any_of_the_keys_is_accepted_and_one_is_sent_with() -> None:
    keys = [a_key(n, kind, b"key %d" % n) for n, kind in enumerate(AuthType, 10)]
    for sending in keys:
        bench = AuthBench(sending, config=authenticated(*keys, send=sending.key_id)).bring_up()
        for key in keys:
            bench.key = key
            bench.hear(State.UP)
        assert sum(bench.session.discards) == 0
        for packet in packets(bench.wait(100_000)):
            assert (packet.auth[0], packet.auth[2]) == (sending.type, sending.key_id)


@pytest.mark.parametrize("kind", DIGESTS)
def test_G7_numbers_go_on_through_a_change_of_keys(kind: AuthType) -> None:
    bench = AuthBench(a_key(1, kind)).bring_up()
    assert bench.session.authentication is not None
    before = bench.session.authentication.xmit_auth_seq
    new = a_key(2, AuthType.METICULOUS_KEYED_SHA1, b"new")
    actions = bench.session.configure(authenticated(a_key(1, kind), new, send=2), bench.now_us)
    (packet,) = packets(actions)
    assert int.from_bytes(packet.auth[4:8], "big") == before
    assert bench.session.authentication.rcv_auth_seq == bench.sequence - 1


def test_G7_a_key_that_was_dropped_is_refused_at_once() -> None:
    bench = AuthBench(a_key(1), config=authenticated(a_key(1), a_key(2))).bring_up()
    bench.session.configure(authenticated(a_key(2)), bench.now_us)
    bench.hear(State.UP)
    assert bench.session.discards[Discard.AUTH_KEY_ID] == 1


def test_G7_enabling_follows_the_peer_once() -> None:
    bench = Bench().bring_up()
    config = authenticated(a_key(), transition=Transition.ENABLING)
    assert packets(bench.session.configure(config, bench.now_us)) == []
    bench.hear(State.UP)
    assert not packets(bench.wait(100_000))[-1].auth
    forged = bench.peer._replace(auth=signed(bench.peer, a_key(secret=b"x"), 1)[24:])
    bench.session.receive(forged, bench.now_us, bench.now_us)
    assert bench.session.discards[Discard.AUTH_DIGEST] == 1
    assert not describe(bench.session, bench.now_us, 0.0).auth_in_use
    true = bench.peer._replace(auth=signed(bench.peer, a_key(), 1)[24:])
    (at_once,) = packets(bench.session.receive(true, bench.now_us, bench.now_us))
    assert at_once.auth
    bench.hear(State.UP)
    assert bench.session.discards[Discard.AUTH_MISSING] == 1, "there is no way back"
    bench.session.configure(authenticated(a_key()), bench.now_us)
    assert describe(bench.session, bench.now_us, 0.0).auth_in_use


def test_G7_disabling_follows_the_peer_once() -> None:
    bench = AuthBench(a_key()).bring_up()
    config = authenticated(a_key(), transition=Transition.DISABLING)
    bench.session.configure(config, bench.now_us)
    bench.hear(State.UP)
    assert packets(bench.wait(100_000))[-1].auth
    bench.key = None
    (at_once,) = packets(bench.hear(State.UP))
    assert not at_once.auth
    bench.key = a_key()
    bench.hear(State.UP)
    assert bench.session.discards[Discard.AUTH_UNEXPECTED] == 1, "there is no way back"
    # What else changes during a transition does not begin it anew.
    bench.session.configure(replace(config, detect_mult=5), bench.now_us)
    assert not describe(bench.session, bench.now_us, 0.0).auth_in_use
    bench.session.configure(FAST, bench.now_us)
    bench.key = None
    bench.hear(State.UP)
    assert bench.session.state is State.UP


def test_a_new_session_in_transition_begins_as_the_peer_has_to_be() -> None:
    for transition in Transition:
        bench = Bench(authenticated(a_key(), transition=transition))
        (packet,) = packets(bench.wait(0))
        assert bool(packet.auth) is (transition is Transition.DISABLING)


# The short way ----------------------------------------------------------------------------------


def test_B10_the_plain_twin_of_the_last_packet_does_not_take_the_short_way() -> None:
    bench = AuthBench(a_key()).bring_up()
    bench.hear(State.UP)
    before = bench.session.rx_packets
    bench.session.receive(bench.peer, bench.now_us, bench.now_us)
    assert bench.session.rx_packets == before
    assert bench.session.discards[Discard.AUTH_MISSING] == 1


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", [AuthType.KEYED_MD5, AuthType.METICULOUS_KEYED_SHA1])
def test_the_short_way_does_what_the_long_way_does(kind: AuthType, seed: int) -> None:
    rng = random.Random(seed)
    configs = [
        authenticated(a_key(1, kind), transition=transition) for transition in (None, *Transition)
    ]
    short, long = (
        AuthBench(a_key(1, kind), config=configs[0], make=make)
        for make in (Session, WithoutShortcut)
    )
    for _ in range(300):
        roll, state = rng.random(), rng.choice([State.UP] * 20 + [State.DOWN, State.INIT])
        sequence = rng.choice([short.sequence] * 9 + [5])
        key = rng.choice([a_key(1, kind)] * 9 + [a_key(1, kind, b"wrong"), None])
        wait_us, config = rng.choice([10_000, 80_000, 700_000]), rng.choice(configs)
        for bench in (short, long):
            bench.key = key
            if roll < 0.8:
                bench.hear(state, sequence=sequence)
            elif roll < 0.95:
                bench.wait(wait_us)
            else:
                bench.session.configure(config, bench.now_us)
        assert described(short) == described(long)


def described(bench: Bench) -> object:
    return describe(bench.session, bench.now_us, 0.0)
