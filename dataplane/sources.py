"""Sources: which policies a source prefix falls under. Pure and immutable.

The kernel finds the longest prefix by one hash map for each prefix length in use, asked from the
longest to the shortest; an element costs the same whether it is one of ten or of 100,000, which is
not so for interval sets (libnftables reads them whole) nor for verdict maps (the kernel walks them
whole to look for loops). The value of an element is the number of its policies.

A changed copy shares all but one shard with the original, and shards that are the same object are
not compared, so that finding the difference of two versions does not grow with their size.
"""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple, Self
from zlib import crc32

IPNetwork = IPv4Network | IPv6Network

_SHARDS = 509
"""A prime, so that prefixes at regular distances spread."""
_BITS = {4: 32, 6: 128}

Shard = Mapping[int, int]
Length = tuple[int, int]
"""The IP version and the prefix length."""
_NONE: tuple[Shard, ...] = ({},) * _SHARDS
_Combination = tuple[int, tuple[str, ...]]
"""An IP version and policies, the strongest first."""


class Difference(NamedTuple):
    """What is to be removed from and added to the map of one length: prefixes with numbers."""

    length: Length
    removed: list[tuple[int, int]]
    added: list[tuple[int, int]]


class Sources:
    """A map from source prefixes to the numbers of combinations of policies."""

    __slots__ = ("_names", "_numbers", "_order", "_shards")

    def __init__(
        self,
        shards: Mapping[Length, tuple[Shard, ...]],
        order: tuple[str, ...] = (),
        numbers: Mapping[_Combination, int] | None = None,
    ) -> None:
        self._shards = dict(shards)
        self._order = order
        self._numbers = dict(numbers or {})
        self._names = {number: names for (_, names), number in self._numbers.items()}

    @classmethod
    def of(cls, claims: Iterable[tuple[str, Iterable[IPNetwork]]]) -> Self:
        """The sources of policies, of which the first is the strongest: where several name one
        prefix, the next is asked only about destinations that the one before it leaves out."""
        named: dict[tuple[Length, int], tuple[str, ...]] = {}
        order = []
        for policy, sources in claims:
            order.append(policy)
            alone = (policy,)
            for source in sources:
                key = _key(source)
                others = named.get(key)
                if others is None:
                    named[key] = alone
                elif policy not in others:
                    named[key] = (*others, policy)
        combinations: dict[_Combination, int | None] = dict.fromkeys(
            sorted({(version, names) for ((version, _), _), names in named.items()})
        )
        numbers = _numbered(combinations)
        shards = _sharded(
            (length, key, numbers[length[0], names]) for (length, key), names in named.items()
        )
        return cls(shards, tuple(order), numbers)

    @classmethod
    def listed(cls, elements: Iterable[tuple[Length, int, int]]) -> Self:
        """What the kernel lists: version and length, prefix, number."""
        return cls(_sharded(elements))

    def with_source(self, source: IPNetwork, policy: str) -> Self:
        """A copy in which the prefix falls under the policy, too."""
        names = {*self.policies(source), policy}
        return self._with(source, tuple(each for each in self._order if each in names))

    def without_source(self, source: IPNetwork, policy: str) -> Self:
        """A copy in which the prefix does not fall under the policy."""
        return self._with(source, tuple(each for each in self.policies(source) if each != policy))

    def _with(self, source: IPNetwork, names: tuple[str, ...]) -> Self:
        length, key = _key(source)
        wanted: dict[_Combination, None] = {(source.version, names): None} if names else {}
        numbers = _numbered({**wanted, **self._numbers})
        shards = list(self._shards.get(length, _NONE))
        shard = dict(shards[key % _SHARDS])
        shard.pop(key, None)
        if names:
            shard[key] = numbers[source.version, names]
        shards[key % _SHARDS] = shard
        others = {each: there for each, there in self._shards.items() if each != length}
        changed = {**others, length: tuple(shards)} if any(shards) else others
        return type(self)(changed, self._order, numbers)

    def policies(self, source: IPNetwork) -> tuple[str, ...]:
        """The policies of exactly this prefix, the strongest first."""
        length, key = _key(source)
        number = self._shards.get(length, _NONE)[key % _SHARDS].get(key)
        return () if number is None else self._names[number]

    def lookup(self, version: int, address: int) -> Iterator[tuple[str, ...]]:
        """The policies of each prefix that an address falls under, the longest first."""
        for length in self.lengths(version):
            key = address >> _BITS[version] - length
            number = self._shards[version, length][key % _SHARDS].get(key)
            if number is not None:
                yield self._names[number]

    def shards(self, version: int, length: int) -> tuple[Shard, ...]:
        """The parts in which the sources of one prefix length are kept."""
        return self._shards.get((version, length), _NONE)

    def lengths(self, version: int) -> list[int]:
        """The prefix lengths in use, the longest first."""
        return sorted((each for family, each in self._shards if family == version), reverse=True)

    def combinations(self, version: int) -> dict[int, tuple[str, ...]]:
        """What the numbers stand for: the policies of a prefix, the strongest first."""
        return {number: names for (each, names), number in self._numbers.items() if each == version}

    def only(self, versions: Iterable[int]) -> Self:
        """A copy with the sources of these IP versions only."""
        kept = {key: each for key, each in self._shards.items() if key[0] in versions}
        return type(self)(kept, self._order, self._numbers)

    def difference(self, after: Self) -> Iterator[Difference]:
        """What turns this into `after`, for each length that differs."""
        for length in sorted(self._shards.keys() | after._shards.keys()):
            old = self._shards.get(length, _NONE)
            new = after._shards.get(length, _NONE)
            removed: list[tuple[int, int]] = []
            added: list[tuple[int, int]] = []
            for a, b in zip(old, new, strict=True):
                if a is not b:
                    removed += a.items() - b.items()
                    added += b.items() - a.items()
            if removed or added:
                yield Difference(length, removed, added)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sources) and self._shards == other._shards

    __hash__ = None  # type: ignore[assignment] # as of every container that is compared by content

    def __len__(self) -> int:
        return sum(len(shard) for shards in self._shards.values() for shard in shards)

    def __repr__(self) -> str:
        return f"<{len(self)} sources>"


def _key(source: IPNetwork) -> tuple[Length, int]:
    version, length = source.version, source.prefixlen
    return (version, length), int(source.network_address) >> _BITS[version] - length


def _numbered(combinations: Mapping[_Combination, int | None]) -> dict[_Combination, int]:
    """A number for each; those that have one keep it. It is made of the names, so that what comes
    and goes besides changes none. Numbers, not names: an element holds 32 bits."""
    numbers = {each: number for each, number in combinations.items() if number is not None}
    taken = set(numbers.values())
    for version, names in [each for each in combinations if each not in numbers]:
        number = crc32(f"{version}/{'/'.join(names)}".encode())
        while number in taken:
            number = (number + 1) % 2**32
        numbers[version, names] = number
        taken.add(number)
    return numbers


def _sharded(elements: Iterable[tuple[Length, int, int]]) -> dict[Length, tuple[Shard, ...]]:
    found: dict[Length, list[dict[int, int]]] = {}
    for length, key, number in elements:
        shards = found.get(length)
        if shards is None:
            shards = found[length] = [{} for _ in range(_SHARDS)]
        shards[key % _SHARDS][key] = number
    return {length: tuple(shards) for length, shards in found.items()}
