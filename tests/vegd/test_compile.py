"""Specification and facts: the intent, what is waited for in which words, and the notes."""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface

import pytest

from bfd.dampening import Dampening
from bfd.session import SessionConfig, SessionKey
from bfd.unsolicited import Invitation
from dataplane import model
from dataplane.model import Interface
from dataplane.render import render
from tests.vegd.spec_documents import ABSENT, Document, changed, good, without_addresses
from vegd import gate
from vegd.compile import Intent, Waiting, compile  # noqa: A004  the design's word
from vegd.facts import NodeFacts
from vegd.gate import Gate
from vegd.spec import GatewaySpec


def _facts(**interfaces: list[str] | Interface) -> NodeFacts:
    """``eth0=["192.168.0.2/24"]`` is a veth with these addresses."""
    return NodeFacts(
        {
            name: value
            if isinstance(value, Interface)
            else Interface(name, index, "veth", True, 1500, tuple(map(ip_interface, value)))
            for index, (name, value) in enumerate(interfaces.items(), 2)
        }
    )


_BARE = _facts(eth0=[], ext0=[])
_HANDED_IN = _facts(
    eth0=["fe80::5/64", "192.168.0.2/24", "fd00::2/64"], net1=["172.17.0.11/16", "fd17::11/64"]
)


def _intent(document: Document, facts: NodeFacts) -> Intent:
    compiled = compile(GatewaySpec.parse(document), facts)
    assert isinstance(compiled, Intent), compiled
    return compiled


def _reasons(document: Document, facts: NodeFacts) -> tuple[str, ...]:
    compiled = compile(GatewaySpec.parse(document), facts)
    assert isinstance(compiled, Waiting)
    return compiled.reasons


def test_the_dataplane_is_told_what_the_specification_says() -> None:
    intent = _intent(changed({"internal.mtu": 1400}), _BARE)
    assert intent.dataplane == model.GatewayIntent(
        internal=model.Side(
            interface="eth0",
            addresses=(ip_interface("192.168.0.2/24"), ip_interface("fd00::2/64")),
            gateways=(ip_address("192.168.0.1"), ip_address("fd00::1")),
            mtu=1400,
        ),
        external=model.Side(
            interface="net1",
            addresses=(ip_interface("172.17.0.11/16"), ip_interface("fd17::11/64")),
            gateways=(ip_address("172.17.0.1"), ip_address("fd17::1")),
            macvlan=model.Macvlan("ext0", "bridge"),
        ),
        policies=(
            model.Policy("vpc", True, (IPv4Network("192.168.0.0/24"), IPv6Network("fd00::/64"))),
            model.Policy("direct", False, (IPv4Network("192.168.2.0/24"),)),
        ),
        bfd_peers=(ip_address("10.255.255.255"), ip_address("fdff::1")),
    )
    assert intent.notes == ()


def test_what_snat_shows_where_policies_hold_and_what_may_come_in_are_handed_on() -> None:
    document = changed(
        {
            "external.snat": {"addresses": ["172.17.0.32/31"], "ports": 5000},
            "policies.0.snatTo": {"addresses": ["fd17::20-fd17::2f"]},
            "policies.0.destinationCIDRs": ["203.0.113.0/24"],
            "policies.0.excludedDestinationCIDRs": ["203.0.113.7"],
            "mssClamp": False,
            "input": {"protect": True, "tcpPorts": [179]},
            "metrics": {"listen": ":9000"},
        }
    )
    intent = _intent(document, _BARE).dataplane
    first, last = ip_address("172.17.0.32"), ip_address("172.17.0.33")
    pool = (model.AddressRange(first, last),)
    assert intent.translation == model.Translation(pool, (5000, 5000))
    assert not intent.clamp_mss
    assert intent.input_protection == model.InputProtection((179, 9000))
    policy, other = intent.policies
    assert policy.translation is not None
    assert [str(each) for each in policy.translation.addresses] == ["fd17::20-fd17::2f"]
    assert policy.destinations == (IPv4Network("203.0.113.0/24"),)
    assert policy.excluded_destinations == (IPv4Network("203.0.113.7/32"),)
    assert (other.translation, other.destinations) == (None, ())


def test_sessions_have_microseconds_and_the_first_internal_address_of_the_family() -> None:
    document = changed(
        {
            "internal.addresses.2": "192.168.0.3/24",
            "bfd.peers.2": {"address": "10.255.255.255", "local": "192.168.0.3", "minTX": 50},
            "bfd.peers.1": {"address": "FDFF:0::1", "passive": True, "multiplier": 5},
        }
    )
    common = {"desired_min_tx_us": 100_000, "required_min_rx_us": 200_000}
    assert _intent(document, _BARE).sessions == (
        SessionConfig(SessionKey("192.168.0.2", "10.255.255.255"), **common, min_ttl=254),
        SessionConfig(SessionKey("fd00::2", "fdff::1"), **common, passive=True, detect_mult=5),
        SessionConfig(
            SessionKey("192.168.0.3", "10.255.255.255"),
            desired_min_tx_us=50_000,
            required_min_rx_us=200_000,
        ),
    )


def test_I4_a_multihop_peer_is_a_session_of_its_own_behind_one_router() -> None:
    document = changed(
        {
            "bfd.peers.1": {"address": "10.255.255.255", "multihop": True},
            "bfd.peers.2": {"address": "10.255.255.254", "multihop": True, "minTTL": 240},
        }
    )
    sessions = _intent(document, _BARE).sessions
    assert [(s.key.multihop, s.min_ttl) for s in sessions] == [
        (False, 254),
        (True, 254),
        (True, 240),
    ]


def test_N4_dampening_holds_for_every_session_in_microseconds() -> None:
    assert _intent(good(), _BARE).sessions[0].dampening is None
    policy = {"flaps": 2, "within": 30, "holdFor": 5, "holdAtMost": 40}
    sessions = _intent(changed({"bfd.dampening": policy}), _BARE).sessions
    assert {session.dampening for session in sessions} == {
        Dampening(2, 30_000_000, 5_000_000, 40_000_000)
    }
    sessions = _intent(changed({"bfd.dampening": {}}), _BARE).sessions
    assert sessions[0].dampening == Dampening(3, 60_000_000, 10_000_000, 300_000_000)


_ON_LINK = {
    "bfd.peers.0": {"address": "fe80::1", "interface": "eth0"},
    "bfd.peers.1": {"address": "fe80::1", "interface": "eth5"},
    "bfd.peers.2": {"address": "10.5.0.1", "interface": "eth5"},
}


def test_H6_a_bound_session_uses_an_address_of_its_interface() -> None:
    facts = _facts(eth0=["fe80::5/64"], ext0=[], eth5=["10.5.0.2/24", "fe80::6/64"])
    intent = _intent(changed(_ON_LINK), facts)
    assert [session.key for session in intent.sessions] == [
        SessionKey("fe80::5", "fe80::1", "eth0"),
        SessionKey("fe80::6", "fe80::1", "eth5"),
        SessionKey("10.5.0.2", "10.5.0.1", "eth5"),
    ]
    assert intent.notes == ()
    # On the link: no way through a router is needed.
    assert intent.dataplane.bfd_peers == ()


def test_H6_a_bound_session_waits_for_its_interface_and_nothing_else_does() -> None:
    document = changed(_ON_LINK | {"bfd.peers.3": {"address": "10.255.255.255"}})
    intent = _intent(document, _BARE)
    assert [session.key.peer for session in intent.sessions] == ["10.255.255.255"]
    assert intent.notes == (
        "the BFD peer fe80::1 waits for interface eth0, which has no link-local address yet",
        "the BFD peer fe80::1 waits for interface eth5, which does not exist yet",
        "the BFD peer 10.5.0.1 waits for interface eth5, which does not exist yet",
    )
    local = {"address": "fe80::1", "interface": "eth0", "local": "fe80::77"}
    intent = _intent(changed({"bfd.peers.1": local}), _facts(eth0=["fe80::5/64"], ext0=[]))
    assert intent.notes == (
        "the BFD peer fe80::1 waits for interface eth0, which has no address fe80::77 yet",
    )


def _unsolicited(*entries: Document) -> Document:
    return changed({"bfd.unsolicited": list(entries)})


def test_J1_nobody_is_invited_unless_it_is_configured() -> None:
    assert _intent(good(), _BARE).invitations == ()


def test_J4_peers_of_the_subnets_of_the_interface_are_invited() -> None:
    intent = _intent(_unsolicited({"interface": "eth0"}), _BARE)
    subnets = ("192.168.0.0/24", "fd00::/64")
    assert intent.invitations == (Invitation("eth0", subnets, 16, 100_000, 200_000, 3),)
    facts = _facts(eth0=[], ext0=[], eth5=["10.5.0.2/24", "fe80::6/64"])
    intent = _intent(_unsolicited({"interface": "eth5"}), facts)
    assert [each.sources for each in intent.invitations] == [("10.5.0.0/24",)]


def test_J4_J5_sources_and_the_limit_are_what_is_listed() -> None:
    entry = {"interface": "eth0", "sources": ["192.168.0.8/29", "fe80::/10"], "sessions": 2}
    (invitation,) = _intent(_unsolicited(entry), _BARE).invitations
    assert invitation.sources == ("192.168.0.8/29", "fe80::/10")
    assert invitation.most_sessions == 2


def test_J4_an_interface_that_is_not_there_yet_invites_nobody_and_is_noted() -> None:
    document = _unsolicited({"interface": "eth5"}, {"interface": "eth0"})
    intent = _intent(document, _BARE)
    assert [each.interface for each in intent.invitations] == ["eth0"]
    assert "unsolicited BFD on eth5 waits: the interface does not exist yet" in intent.notes
    intent = _intent(document, _facts(eth0=[], ext0=[], eth5=["fe80::1/64"]))
    assert "unsolicited BFD on eth5 waits: the interface has no address yet" in intent.notes


def test_J5_peers_need_not_be_listed_where_they_are_invited() -> None:
    document = changed({"bfd.unsolicited": [{"interface": "eth0"}], "bfd.peers": ABSENT})
    intent = _intent(document, _BARE)
    assert intent.sessions == ()
    assert len(intent.invitations) == 1


def test_a_family_that_is_not_forwarded_invites_nobody() -> None:
    invitation = Invitation("eth0", ("192.168.0.0/24", "fd00::/64"), 16, 100_000, 200_000, 3)
    narrowed = gate.invited({4: Gate.OPEN, 6: Gate.CANNOT_FORWARD}, (invitation,))
    assert [each.sources for each in narrowed] == [("192.168.0.0/24",)]
    assert gate.invited({4: Gate.DRAINING, 6: Gate.DRAINING}, (invitation,)) == ()


def test_without_bfd_there_are_no_sessions() -> None:
    intent = _intent(changed({"bfd": ABSENT}), _BARE)
    assert intent.sessions == ()
    assert intent.dataplane.bfd_peers == ()


def test_addresses_of_others_are_used_and_not_managed() -> None:
    intent = _intent(without_addresses(), _HANDED_IN)
    assert [session.key.local for session in intent.sessions] == ["192.168.0.2", "fd00::2"]
    internal = intent.dataplane.internal
    assert internal.addresses == ()
    assert internal.found == (ip_interface("192.168.0.2/24"), ip_interface("fd00::2/64"))
    assert intent.notes == ()


def test_every_missing_interface_is_named_at_once() -> None:
    assert _reasons(good(), _facts()) == (
        "interface eth0 does not exist yet",
        "the macvlan parent ext0 of net1 does not exist yet",
    )
    assert _reasons(without_addresses(), _facts(lo=[])) == (
        "interface eth0 does not exist yet",
        "interface net1 does not exist yet",
    )


def test_an_interface_that_vegd_creates_is_not_waited_for_but_must_not_be_anothers() -> None:
    macvlan = Interface("net1", 9, "macvlan", True, 1500, ())
    assert _intent(good(), _facts(eth0=[], ext0=[], net1=macvlan))
    assert _reasons(good(), _facts(eth0=[], ext0=[], net1=[])) == (
        (
            "interface net1 exists and is no macvlan but a veth; remove it, or leave "
            "external.macvlan "
            "out to use it as it is"
        ),
    )


def test_a_macvlan_cannot_have_a_larger_mtu_than_its_parent() -> None:
    assert _intent(changed({"external.mtu": 1500}), _BARE)
    assert _reasons(changed({"external.mtu": 1501}), _BARE) == (
        "the MTU 1501 of net1 is more than its macvlan parent ext0 has (1500)",
    )


@pytest.mark.parametrize(
    ("changes", "facts", "reasons"),
    [
        (
            {"bfd": ABSENT},
            _facts(eth0=["fe80::5/64"], net1=["172.17.0.11/16"]),
            ["interface eth0 has no address yet"],
        ),
        (
            {},
            _facts(eth0=["fd00::2/64"], net1=["172.17.0.11/16", "fd17::11/64"]),
            [("interface eth0 has no IPv4 address yet, which the BFD peer 10.255.255.255 needs")],
        ),
        (
            {"bfd.peers.0.local": "192.168.0.9"},
            _HANDED_IN,
            [
                (
                    "interface eth0 has no address 192.168.0.9 yet, "
                    "which the BFD peer 10.255.255.255 needs"
                )
            ],
        ),
        (
            {},
            _facts(
                eth0=["192.168.0.2/24", "fd00::2/64"],
                net1=["172.18.0.11/16", "fd17::11/64", "192.168.0.200/25"],
            ),
            [
                (
                    "no address of net1 reaches the gateway 172.17.0.1 yet "
                    "(172.18.0.0/16, fd17::/64, 192.168.0.128/25)"
                ),
                "the subnets 192.168.0.0/24 of eth0 and 192.168.0.128/25 of net1 overlap",
            ],
        ),
        (
            {"bfd": ABSENT},
            _facts(eth0=["192.168.0.1/24", "fd00::2/64"], net1=["172.17.0.11/16"]),
            ["the internal gateway 192.168.0.1 is an address of the interface itself"],
        ),
        (
            {"external.gateways.0": "172.17.255.255"},
            _HANDED_IN,
            ["the external gateway 172.17.255.255 is the broadcast address of 172.17.0.0/16"],
        ),
    ],
)
def test_what_the_configuration_leaves_to_others_is_waited_for(
    changes: dict[str, object], facts: NodeFacts, reasons: list[str]
) -> None:
    assert list(_reasons(changed(changes, without_addresses()), facts)) == reasons


def test_a_family_that_only_the_facts_lack_is_a_note_and_gets_no_next_hop() -> None:
    facts = _facts(eth0=["192.168.0.2/24", "fd00::2/64"], net1=["172.17.0.11/16", "fe80::5/64"])
    intent = _intent(without_addresses(), facts)
    assert intent.notes == ("IPv6 is not forwarded: no external IPv6 address on net1",)
    assert intent.dataplane.external.gateways == (ip_address("172.17.0.1"),)
    assert intent.dataplane.internal.gateways == (ip_address("192.168.0.1"), ip_address("fd00::1"))


def test_dual_stack_inside_and_single_stack_outside_forwards_one_family_and_notes_the_other() -> (
    None
):
    document = changed(
        {"external.gateways": ["172.17.0.1"], "external.addresses": ["172.17.0.11/16"]}
    )
    intent = _intent(document, _facts(eth0=[], ext0=[]))
    assert intent.notes == ("IPv6 is not forwarded: no external IPv6 address on net1",)
    assert {route.destination.version for route in render(intent.dataplane).routes} == {4}


def test_a_family_that_no_policy_names_is_not_noted() -> None:
    facts = _facts(eth0=["192.168.0.2/24", "fd00::2/64"], net1=["172.17.0.11/16"])
    document = changed({"policies.0.ipBlocks": ["192.168.0.0/24"]}, without_addresses())
    assert _intent(document, facts).notes == ()


def test_without_snat_a_link_local_next_hop_outside_is_enough() -> None:
    facts = _facts(eth0=["192.168.0.2/24", "fd00::2/64"], net1=["172.17.0.11/16", "fe80::5/64"])
    document = changed(
        {
            "external.gateways.1": "fe80::1",
            "policies.0.ipBlocks": ["192.168.0.0/24"],
            "policies.1.ipBlocks": ["fd00::/64"],
        },
        without_addresses(),
    )
    intent = _intent(document, facts)
    assert intent.notes == ()
    assert intent.dataplane.external.gateways == (ip_address("172.17.0.1"), ip_address("fe80::1"))
