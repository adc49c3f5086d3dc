"""The slots of ECMP groups, by their routes' UUIDs."""

from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from kube.ecmp import Uuids, slot_of
from kube.rows import NO_SLOT, StaticRoute

NOW = 1.8e9
SLOTS = (0, 1, 2)


def route(prefix: str, slot: int) -> StaticRoute:
    hop = f"192.168.0.{9 - slot}"
    ids: frozenset[tuple[str, str]] = frozenset()
    return StaticRoute(router="vpc1", ip_prefix=prefix, nexthop=hop, slot=slot, external_ids=ids)


def placed(uuids: Uuids, prefix: str, slots: tuple[int, ...] = SLOTS) -> dict[int, UUID]:
    return {slot: uuids.of(route(prefix, slot)) for slot in slots}


def there(prefix: str, group: dict[int, UUID]) -> list[tuple[UUID, StaticRoute]]:
    return [(uuid, route(prefix, slot)) for slot, uuid in group.items()]


def by_uuid(group: dict[int, UUID]) -> list[int]:
    return sorted(group, key=lambda slot: group[slot])


def by_bucket(group: dict[int, UUID], bits: int) -> list[int]:
    """As in a hash table of 2**bits buckets."""
    buckets = {slot: (uuid.int >> 96) % (1 << bits) for slot, uuid in group.items()}
    assert len(set(buckets.values())) == len(buckets), "one bucket, and so an order by chance"
    return sorted(buckets, key=lambda slot: buckets[slot])


@given(prefixes=st.sets(st.ip_addresses(v=4), min_size=2, max_size=20))
def test_in_every_group_and_table_of_any_size_slots_are_in_their_order(
    prefixes: set[object],
) -> None:
    uuids = Uuids([], NOW)
    for prefix in prefixes:
        group = placed(uuids, f"{prefix}/32", (2, 0, 1))
        assert by_uuid(group) == list(SLOTS)
        assert {tuple(by_bucket(group, bits)) for bits in range(2, 33)} == {SLOTS}


def test_a_slot_that_comes_later_has_its_place_in_the_group() -> None:
    group = placed(Uuids([], NOW), "10.0.0.0/8", (0, 2))
    group |= placed(Uuids(there("10.0.0.0/8", group), NOW + 100), "10.0.0.0/8", (3, 1))
    assert by_uuid(group) == [0, 1, 2, 3]


def test_a_group_that_comes_later_stands_behind_those_that_are_there() -> None:
    first = placed(Uuids([], NOW), "10.0.0.0/8")
    uuids = Uuids(there("10.0.0.0/8", first), NOW + 100)
    second = placed(uuids, "10.1.0.0/16")
    again = placed(uuids, "10.0.0.0/8", (3,))
    third = placed(uuids, "10.2.0.0/16")
    assert max((first | again).values()) < min(second.values())
    assert max(second.values()) < min(third.values())


@given(slot=st.integers(0, 31))
def test_the_slot_can_be_read_from_the_uuid(slot: int) -> None:
    made = route("10.0.0.0/8", slot)
    assert slot_of(Uuids([], NOW).of(made), route("10.0.0.0/8", NO_SLOT)) == slot


def test_routes_with_uuids_by_chance_have_no_slot_and_no_say() -> None:
    """As vegd made them before, and others do."""
    chance = [(uuid4(), route("10.0.0.0/8", NO_SLOT)) for _ in range(40)]
    assert {slot_of(uuid, each) for uuid, each in chance} == {NO_SLOT}
    group = placed(Uuids(chance, NOW), "10.0.0.0/8")
    assert by_uuid(group) == list(SLOTS)
    assert {uuid.int >> 101 for uuid in group.values()} == {int(NOW) // 10 % (1 << 27)}


def test_uuids_are_of_version_4_and_never_the_same() -> None:
    uuids = Uuids([], NOW)
    made = {uuids.of(route("10.0.0.0/8", 1)) for _ in range(100)}
    assert len(made) == 100
    assert {each.version for each in made} == {4}
