"""Sources against a plain reading of the rule: longest prefix, then no-SNAT, then the first."""

from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from dataplane.render import render
from dataplane.sources import IPNetwork, Sources
from tests.support.dataplane import gateway_intent, policy

_prefixes = st.builds(
    lambda base, length: ip_network((int(ip_address(base)) >> 32 - length << 32 - length, length)),
    st.sampled_from(["10.0.0.0", "10.1.2.3", "10.1.2.200", "255.255.255.255", "0.0.0.1"]),
    st.sampled_from([0, 8, 15, 24, 25, 31, 32]),
)
_claims = st.dictionaries(st.sampled_from("abcd"), st.lists(_prefixes, max_size=5), max_size=4)
_addresses = st.sampled_from(["10.0.0.0", "10.1.2.3", "10.1.2.201", "9.9.9.9", "255.255.255.255"])


@given(_claims, _addresses)
def test_an_address_falls_under_its_longest_prefix_first(
    claims: dict[str, list[IPNetwork]], text: str
) -> None:
    address = ip_address(text)
    prefixes = {each for sources in claims.values() for each in sources if address in each}
    expected = [
        tuple(name for name, sources in claims.items() if prefix in sources)
        for prefix in sorted(prefixes, key=lambda each: -each.prefixlen)
    ]
    assert list(Sources.of(claims.items()).lookup(4, int(address))) == expected


@given(_claims, _prefixes, st.sampled_from("abcd"))
def test_a_source_that_came_and_went_leaves_no_difference(
    claims: dict[str, list[IPNetwork]], prefix: IPNetwork, name: str
) -> None:
    before = Sources.of({name: [], **claims}.items())
    if name in before.policies(prefix):
        return
    more = before.with_source(prefix, name)
    assert name in more.policies(prefix)
    assert [len(each.added) for each in before.difference(more)] == [1]
    less = more.without_source(prefix, name)
    assert less == before
    assert list(less.difference(before)) == []


@given(_claims, _claims)
def test_the_difference_leads_from_one_version_to_the_other(
    one: dict[str, list[IPNetwork]], two: dict[str, list[IPNetwork]]
) -> None:
    before, after = Sources.of(one.items()), Sources.of(two.items())
    state = {length: {} for length in [(4, n) for n in range(33)]}
    for version in (before, after):
        start = Sources.listed(
            (length, key, number) for length, keys in state.items() for key, number in keys.items()
        )
        for length, removed, added in start.difference(version):
            for key, number in removed:
                assert state[length].pop(key) == number
            state[length].update(added)
    elements = ((length, key, n) for length, keys in state.items() for key, n in keys.items())
    assert Sources.listed(elements) == after


def test_a_small_change_of_many_sources_is_found_without_comparing_the_rest() -> None:
    many = Sources.of([("all", [ip_network((0x0A000000 + i, 32)) for i in range(20_000)])])
    more = many.with_source(ip_network("11.0.0.1/32"), "all")
    shared = [a is b for a, b in zip(many.shards(4, 32), more.shards(4, 32), strict=True)]
    assert shared.count(False) == 1


def test_a_source_that_is_taken_away_again_leaves_nothing_to_look_up() -> None:
    intent = gateway_intent()
    first = intent.sources()
    extra = ip_network("11.0.0.1/32")
    last = first.with_source(extra, "vpc").without_source(extra, "vpc")
    assert last.combinations(4) == first.combinations(4)
    assert render(intent, last) == render(intent)


def test_at_equal_length_no_snat_is_asked_first_and_then_what_is_listed_first() -> None:
    intent = gateway_intent(
        policies=(
            policy("second", "10.0.0.0/8"),
            policy("third", "10.0.0.0/8"),
            policy("first", "10.0.0.0/8", snat=False),
        )
    )
    assert intent.sources().policies(ip_network("10.0.0.0/8")) == ("first", "second", "third")


def test_the_numbers_of_policies_do_not_change_when_others_come() -> None:
    one, more = (
        gateway_intent(),
        gateway_intent(policies=(policy("other", "10.7.0.0/16"), *gateway_intent().policies)),
    )
    before, after = render(one).nft, render(more).nft
    assert before is not None
    assert after is not None
    changed = [length for length, *_ in before.sources.difference(after.sources)]
    assert changed == [(4, 16)]
