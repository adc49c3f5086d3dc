"""The longest prefix decides for every address."""

from ipaddress import IPv4Network, ip_network

from hypothesis import given
from hypothesis import strategies as st

from dataplane.intervals import flatten
from dataplane.model import Policy
from tests.support.dataplane import policy

_prefixes = st.builds(
    lambda address, length: ip_network((address & ~((1 << (32 - length)) - 1), length)),
    st.integers(0, 63).map(lambda low: (10 << 24) | low),
    st.integers(26, 32),
)
_policies = st.lists(st.tuples(st.booleans(), st.lists(_prefixes, max_size=5)), max_size=5).map(
    lambda drawn: tuple(
        Policy(f"p{place}", snat, tuple(sources)) for place, (snat, sources) in enumerate(drawn)
    )
)


def _ruling(policies: tuple[Policy, ...], address: int) -> Policy | None:
    """By looking at every prefix: longest, then without SNAT, then first."""
    best: tuple[int, bool, int] | None = None
    winner = None
    for place, each in enumerate(policies):
        for source in each.sources:
            assert isinstance(source, IPv4Network)
            if int(source[0]) <= address <= int(source[-1]):
                rank = (source.prefixlen, not each.snat, -place)
                if best is None or rank > best:
                    best, winner = rank, each
    return winner


@given(_policies)
def test_every_address_falls_under_the_policy_of_its_longest_prefix(
    policies: tuple[Policy, ...],
) -> None:
    flat = flatten(policies, 4)
    for address in range((10 << 24) - 1, (10 << 24) + 66):
        found = [each.policy for each in flat if each.first <= address <= each.last]
        expected = _ruling(policies, address)
        assert found == ([expected] if expected else [])


@given(_policies)
def test_intervals_are_in_order_and_neighbours_of_one_policy_are_joined(
    policies: tuple[Policy, ...],
) -> None:
    flat = flatten(policies, 4)
    for one, two in zip(flat, flat[1:], strict=False):
        assert one.last < two.first
        assert one.policy != two.policy or one.last + 1 < two.first


def test_the_whole_of_both_families_is_one_interval_each() -> None:
    everything = (policy("all", "0.0.0.0/0", "::/0"),)
    assert [(i.first, i.last) for i in flatten(everything, 4)] == [(0, 2**32 - 1)]
    assert [(i.first, i.last) for i in flatten(everything, 6)] == [(0, 2**128 - 1)]


def test_at_equal_length_the_policy_without_snat_wins_in_whatever_order() -> None:
    first, second = policy("a", "10.0.0.0/24"), policy("b", "10.0.0.0/24", snat=False)
    for order in ((first, second), (second, first)):
        assert [each.policy.name for each in flatten(order, 4)] == ["b"]
