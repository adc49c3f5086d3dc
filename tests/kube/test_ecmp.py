"""The ranks of next hops in ECMP groups, by their routes' UUIDs."""

from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from kube.ecmp import Ranks
from kube.rows import StaticRoute

NOW = 1.8e9
FIRST = ("192.168.0.9", "192.168.0.2", "192.168.0.5")
"""In the order in which they come, which is that of the pods' names."""


def route(prefix: str, hop: str) -> StaticRoute:
    return StaticRoute(router="vpc1", ip_prefix=prefix, nexthop=hop, external_ids=frozenset())


def placed(ranks: Ranks, prefix: str, hops: tuple[str, ...]) -> dict[str, UUID]:
    return {hop: ranks.place(route(prefix, hop)) for hop in hops}


def there(prefix: str, group: dict[str, UUID]) -> list[tuple[UUID, StaticRoute]]:
    return [(uuid, route(prefix, hop)) for hop, uuid in group.items()]


def by_uuid(group: dict[str, UUID]) -> list[str]:
    return sorted(group, key=lambda hop: group[hop])


def by_bucket(group: dict[str, UUID], bits: int) -> list[str]:
    """As in a hash table of 2**bits buckets."""
    buckets = {hop: (uuid.int >> 96) % (1 << bits) for hop, uuid in group.items()}
    assert len(set(buckets.values())) == len(buckets), "one bucket, and so an order by chance"
    return sorted(buckets, key=lambda hop: buckets[hop])


@given(prefixes=st.sets(st.ip_addresses(v=4), min_size=2, max_size=20))
def test_in_every_group_and_table_of_any_size_they_come_in_the_same_order(
    prefixes: set[object],
) -> None:
    ranks = Ranks([], NOW)
    for prefix in prefixes:
        group = placed(ranks, f"{prefix}/32", FIRST)
        assert by_uuid(group) == list(FIRST)
        assert {tuple(by_bucket(group, bits)) for bits in range(2, 33)} == {FIRST}


def test_one_that_comes_stands_last_and_one_that_is_replaced_leaves_its_place_to_it() -> None:
    group = placed(Ranks([], NOW), "10.0.0.0/8", FIRST)
    last = Ranks(there("10.0.0.0/8", group), NOW + 100)
    assert by_uuid(group | placed(last, "10.0.0.0/8", ("192.168.0.1",)))[-1] == "192.168.0.1"
    del group["192.168.0.2"]
    between = Ranks(there("10.0.0.0/8", group), NOW + 100)
    group |= placed(between, "10.0.0.0/8", ("192.168.0.1",))
    assert by_uuid(group) == ["192.168.0.9", "192.168.0.1", "192.168.0.5"]


def test_a_group_that_comes_later_has_the_order_of_those_that_are_there() -> None:
    group = placed(Ranks([], NOW), "10.0.0.0/8", FIRST)
    later = Ranks(there("10.0.0.0/8", group), NOW + 100)
    assert by_uuid(placed(later, "10.1.0.0/16", tuple(sorted(FIRST)))) == list(FIRST)


def test_a_group_that_comes_later_stands_behind_those_that_are_there() -> None:
    first = placed(Ranks([], NOW), "10.0.0.0/8", FIRST)
    ranks = Ranks(there("10.0.0.0/8", first), NOW + 100)
    second = placed(ranks, "10.1.0.0/16", FIRST)
    again = placed(ranks, "10.0.0.0/8", ("192.168.0.1",))
    third = placed(ranks, "10.2.0.0/16", FIRST)
    assert max((first | again).values()) < min(second.values())
    assert max(second.values()) < min(third.values())


def test_families_do_not_take_ranks_from_each_other() -> None:
    ranks = Ranks([], NOW)
    for hops in (("192.168.0.2", "192.168.0.3"), ("fd00::2", "fd00::3")):
        group = placed(ranks, "::/0" if ":" in hops[0] else "0.0.0.0/0", hops)
        assert [uuid.int >> 96 & 31 for uuid in group.values()] == [0, 1]


def test_routes_with_uuids_by_chance_have_no_ranks() -> None:
    """As vegd made them before, and others do."""
    prefix = "10.0.0.0/8"
    chance = [(uuid4(), route(prefix, f"192.168.1.{number}")) for number in range(40)]
    assert by_uuid(placed(Ranks(chance, NOW), prefix, FIRST)) == list(FIRST)
    assert placed(Ranks(chance, NOW), prefix, FIRST)[FIRST[0]].int >> 96 & 31 == 0


def test_uuids_are_of_version_4_and_never_the_same() -> None:
    ranks = Ranks([], NOW)
    made = {ranks.place(route("10.0.0.0/8", "192.168.0.2")) for _ in range(100)}
    assert len(made) == 100
    assert {each.version for each in made} == {4}


def test_more_next_hops_than_ranks_are_routes_all_the_same() -> None:
    hops = tuple(f"192.168.0.{number}" for number in range(1, 41))
    assert len(set(placed(Ranks([], NOW), "10.0.0.0/8", hops).values())) == 40
