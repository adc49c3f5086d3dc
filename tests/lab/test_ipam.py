"""Addresses of pods: Subnets, fixed addresses, pools."""

import pytest

from vegd.lab.cluster.ipam import NoAddress, Range, Subnet, Wish, allocate, mac, wish

_ANY = Wish()
_DUAL = {"cidrBlock": "172.19.0.0/29,fd00:172:19::/112", "gateway": "172.19.0.1,fd00:172:19::1"}


def subnet(**spec: object) -> Subnet:
    """A Subnet of that specification."""
    return Subnet.parse({"metadata": {"name": "s"}, "spec": spec}, "ovn-cluster")


def texts(given: Subnet, used: set[str], asked: Wish = _ANY, **more: object) -> list[str]:
    """What a pod gets."""
    return [str(each) for each in allocate(given, used, asked, **more)]  # type: ignore[arg-type]


def test_the_first_address_that_is_neither_gateway_nor_excluded_is_given() -> None:
    given = subnet(
        cidrBlock="172.17.0.0/16", gateway="172.17.0.1", excludeIps=["172.17.0.0..172.17.0.10"]
    )
    assert texts(given, set()) == ["172.17.0.11/16"]
    assert texts(given, {"172.17.0.11"}) == ["172.17.0.12/16"]


@pytest.mark.parametrize(
    ("excluded", "first"),
    [
        (["10.0.0.2"], "10.0.0.3"),
        (["10.0.0.2..10.0.0.4"], "10.0.0.5"),
        (["10.0.0.0/29"], "10.0.0.8"),
        (["fd00::/64"], "10.0.0.2"),
    ],
)
def test_exclusions_are_addresses_ranges_or_networks(excluded: list[str], first: str) -> None:
    given = subnet(cidrBlock="10.0.0.0/24", gateway="10.0.0.1", excludeIps=excluded)
    assert texts(given, set()) == [f"{first}/24"]


def test_each_family_has_its_address() -> None:
    assert texts(subnet(**_DUAL), set()) == ["172.19.0.2/29", "fd00:172:19::2/112"]


def test_an_address_that_is_given_back_waits_for_its_turn() -> None:
    given = subnet(cidrBlock="10.0.0.0/29", gateway="10.0.0.1")
    newest: dict[int, object] = {}
    seen = []
    for _ in range(7):
        (address,) = allocate(given, set(), Wish(), newest)  # type: ignore[arg-type]
        newest[4] = address.ip
        seen.append(str(address.ip))
    assert seen == [f"10.0.0.{n}" for n in (2, 3, 4, 5, 6, 2, 3)]


def test_nothing_free_is_said_with_the_subnets_name() -> None:
    given = subnet(cidrBlock="10.0.0.0/30", gateway="10.0.0.1")
    with pytest.raises(NoAddress, match="Subnet s: every IPv4 address is in use"):
        texts(given, {"10.0.0.2"})


def test_fixed_addresses_are_taken_in_their_order() -> None:
    asked = wish("172.19.0.5,fd00:172:19::5;172.19.0.4,fd00:172:19::4", {})
    assert texts(subnet(**_DUAL), set(), asked) == ["172.19.0.5/29", "fd00:172:19::5/112"]
    assert texts(subnet(**_DUAL), {"172.19.0.5"}, asked) == ["172.19.0.4/29", "fd00:172:19::4/112"]
    with pytest.raises(NoAddress, match="all 2 addresses asked for are in use"):
        texts(subnet(**_DUAL), {"172.19.0.5", "fd00:172:19::4"}, asked)
    with pytest.raises(NoAddress, match=r"10\.0\.0\.9 is not in Subnet s"):
        texts(subnet(**_DUAL), set(), wish("10.0.0.9", {}))


def test_a_pool_gives_what_it_has_even_if_that_is_excluded() -> None:
    given = subnet(cidrBlock="10.0.0.0/24", gateway="10.0.0.1", excludeIps=["10.0.0.0..10.0.0.99"])
    asked = wish("p", {"p": ("10.0.0.20", "10.0.0.30..10.0.0.31")})
    got = []
    for _ in range(3):
        got += [each.partition("/")[0] for each in texts(given, set(got), asked)]
    assert got == ["10.0.0.20", "10.0.0.30", "10.0.0.31"]
    with pytest.raises(NoAddress, match="IPPool p: every IPv4 address is in use"):
        texts(given, set(got), asked)
    with pytest.raises(NoAddress, match="no IPPool 'q'"):
        wish("q", {"p": ()})


def test_what_a_subnet_leaves_out_is_filled_in() -> None:
    given = subnet(cidrBlock="192.168.0.0/24")
    assert (given.gateways, given.vpc, given.provider) == (("192.168.0.1",), "ovn-cluster", "ovn")
    assert subnet(cidrBlock="10.0.0.0/8", provider="eth1.default").vpc == ""


def test_a_range_knows_its_family() -> None:
    assert Range.parse("10.0.0.1").last == Range.parse("10.0.0.0..10.0.0.1").last


def test_hardware_addresses_are_local_and_always_the_same() -> None:
    assert mac("a", "eth0") == mac("a", "eth0") != mac("a", "net1")
    assert mac("a").startswith("02:")
