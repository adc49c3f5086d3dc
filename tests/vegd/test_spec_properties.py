"""Whatever stands in a configuration, the answer is a specification or faults, no accident."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane.model import Interface
from tests.vegd.spec_documents import good, without_addresses
from vegd.compile import Intent, compile  # noqa: A004  the design's word
from vegd.facts import NodeFacts
from vegd.spec import Fault, GatewaySpec, SpecError, parse_bytes

_KEYS = st.sampled_from(
    [
        "name",
        "internal",
        "external",
        "interface",
        "addresses",
        "gateways",
        "mtu",
        "macvlan",
        "parent",
        "mode",
        "policies",
        "snat",
        "ipBlocks",
        "bfd",
        "minTX",
        "minTTL",
        "peers",
        "multihop",
        "address",
        "local",
        "drain",
        "forwardFor",
        "metrics",
        "listen",
        "a.b",
        "ipblocks",
        "min_tx",
        "",
        "\n",
    ]
)
_TEXTS = st.sampled_from(
    [
        *[
            "10.0.0.1",
            "10.0.0.1/24",
            "10.0.0.0/24",
            "0.0.0.0/0",
            "fd00::1",
            "fd00::/64",
            "fe80::1%1",
            "::/0",
            "1/2/3",
            "/",
            "%",
            "10.0.0.1/",
            "10.0.0.1/99999999999",
            ":1",
            "[::1]:9",
            "[]:9",
            "eth0",
            "bridge",
            "²",
            "10.0.0.1/²",
            ":²",
        ],
        "",
        "\x1b[31m",
        "�",
        "x" * 5000,
    ]
)
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, 255, 256, 1000]),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=3),
    _TEXTS,
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=2).map(tuple),
        st.dictionaries(st.one_of(_KEYS, st.integers(), st.none()), inner, max_size=4),
    ),
    max_leaves=12,
)


def _places(node: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = node.items() if isinstance(node, dict) else enumerate(node)
    found = [way]
    for step, value in inner:
        found.append((*way, step))
        if isinstance(value, dict | list):
            found += _places(value, (*way, step))
    return found


@st.composite
def _spoilt(draw: st.DrawFn) -> Any:
    document = draw(st.sampled_from([good, without_addresses]))()
    for _ in range(draw(st.integers(1, 4))):
        *way, last = draw(st.sampled_from(_places(document)[1:]))
        node = document
        for step in way:
            node = node[step]
        node[last] = draw(st.one_of(_VALUES, _TEXTS, st.just([]), st.just({})))
        if isinstance(node, dict) and draw(st.booleans()):
            node[draw(_KEYS)] = draw(_VALUES)
    return document


def _faults(document: object) -> tuple[Fault, ...]:
    try:
        spec = GatewaySpec.parse(document)
    except SpecError as error:
        return error.faults
    hash(spec)
    spec.warnings()
    return ()


def _check(document: object) -> None:
    for fault in _faults(document):
        assert str(fault).isprintable()
        assert fault.remedy
        assert len(str(fault)) < 700


@given(document=_VALUES)
def test_any_value_gives_a_specification_or_faults(document: object) -> None:
    _check(document)


@given(document=_spoilt())
@settings(max_examples=300)
def test_any_damage_gives_a_specification_or_faults(document: object) -> None:
    _check(document)


def test_a_number_that_python_refuses_to_print_is_a_fault() -> None:
    document = good()
    document["bfd"]["minTX"] = 10**6000
    assert [str(fault) for fault in _faults(document)] == [
        "bfd.minTX: a number of more than 60 digits is out of range; give 1 to 60000 (milliseconds)"
    ]


@given(text=st.text(max_size=200))
def test_any_text_gives_a_specification_or_faults(text: str) -> None:
    spec, faults = parse_bytes(text.encode())
    assert (spec is None) == bool(faults)


_TIMERS = st.fixed_dictionaries(
    {},
    optional={
        "minTX": st.integers(1, 2000),
        "minRX": st.integers(1, 2000),
        "multiplier": st.integers(1, 255),
        "minTTL": st.integers(1, 255),
        "passive": st.booleans(),
        "backOff": st.integers(1, 64),
    },
)
_KINDS = st.sampled_from([{}, {"multihop": True}, {"interface": "eth0"}])


_OWN = st.builds(dict.__or__, _TIMERS, _KINDS)


@given(section=_TIMERS, own=st.lists(_OWN, min_size=1, max_size=3))
def test_every_sound_configuration_of_bfd_is_one_that_the_engine_takes(
    section: dict[str, Any], own: list[dict[str, Any]]
) -> None:
    document = good()
    peers = [{"address": f"10.255.0.{i}", **timers} for i, timers in enumerate(own)]
    document["bfd"] = {**section, "peers": peers}
    facts = NodeFacts(
        {
            name: Interface(name, i, "veth", True, 1500, ())
            for i, name in enumerate(["eth0", "ext0"])
        }
    )
    intent = compile(GatewaySpec.parse(document), facts)
    assert isinstance(intent, Intent)
    for session, timers in zip(intent.sessions, own, strict=True):
        effective = {"minTX": 1000, "minRX": 1000, "multiplier": 3, "passive": False}
        effective["backOff"] = 8 if "multihop" in timers else 1
        effective["minTTL"] = 254 if "multihop" in timers else 255
        effective |= section | timers
        assert session.desired_min_tx_us == effective["minTX"] * 1000
        assert session.required_min_rx_us == effective["minRX"] * 1000
        assert session.detect_mult == effective["multiplier"]
        assert session.min_ttl == effective["minTTL"]
        assert session.back_off == effective["backOff"]
        assert session.passive is effective["passive"]
        assert session.key.multihop is ("multihop" in timers)
        assert session.key.interface == timers.get("interface", "")


def test_a_specification_is_frozen_and_compared_by_value() -> None:
    spec = GatewaySpec.parse(good())
    assert spec == GatewaySpec.parse(good())
    assert spec != msgspec.structs.replace(spec, name="other")
    assert len({spec, GatewaySpec.parse(good())}) == 1
