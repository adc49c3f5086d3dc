"""Local discriminators (checklist C2, N1)."""

import pytest

from bfd.config import SessionKey
from bfd.discriminators import Discriminators

KEY = bytes(range(32))


def keys(count: int) -> list[SessionKey]:
    return [SessionKey(f"10.0.{n >> 8}.{n & 255}", "10.9.9.9") for n in range(count)]


def test_N1_the_same_key_and_addresses_give_the_same_number() -> None:
    first = [Discriminators(KEY).allocate(key) for key in keys(20)]
    assert first == [Discriminators(KEY).allocate(key) for key in keys(20)]
    assert first != [Discriminators(KEY[::-1]).allocate(key) for key in keys(20)]


def test_C2_numbers_are_unique_and_not_zero() -> None:
    allocator = Discriminators(KEY)
    numbers = [allocator.allocate(key) for key in keys(5000)]
    assert len(set(numbers)) == len(numbers)
    assert 0 not in numbers


def test_N1_a_collision_is_resolved_and_the_number_returns_after_release() -> None:
    allocator = Discriminators(KEY)
    (key,) = keys(1)
    first = allocator.allocate(key)
    # The same pair again stands for another pair with the same hash.
    second = allocator.allocate(key)
    assert second != first
    allocator.release(first)
    assert allocator.allocate(key) == first


def test_N1_the_interface_tells_equal_link_local_pairs_apart() -> None:
    allocator = Discriminators(KEY)
    a = allocator.allocate(SessionKey("fe80::1", "fe80::2", "eth0"))
    b = allocator.allocate(SessionKey("fe80::1", "fe80::2", "eth1"))
    assert a != b


def test_N1_the_kind_tells_equal_pairs_apart() -> None:
    allocator = Discriminators(KEY)
    a = allocator.allocate(SessionKey("192.0.2.1", "192.0.2.2"))
    b = allocator.allocate(SessionKey("192.0.2.1", "192.0.2.2", multihop=True))
    assert a != b


@pytest.mark.parametrize("size", [0, 15, 65])
def test_N1_a_key_of_the_wrong_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="16 to 64"):
        Discriminators(bytes(size))
