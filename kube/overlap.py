"""Gateways that claim the same sources. Pure.

Policies of equal priority have no order, and membership in an address set knows no longest prefix:
when two gateways of one router claim a source, it is undefined which one gets its packets, even if
one of them names it more narrowly. A selected pod counts as its addresses. The index answers for
one gateway at a cost that does not grow with the number of the others.
"""

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import NamedTuple

_BITS = {4: 32, 6: 128}


class _Network(NamedTuple):
    """As numbers, which are compared often."""

    version: int
    first: int
    length: int

    @classmethod
    def of(cls, text: str) -> "_Network":
        parsed = ip_network(text, strict=False)
        return cls(parsed.version, int(parsed.network_address), parsed.prefixlen)

    def __str__(self) -> str:
        address = (IPv4Address if self.version == 4 else IPv6Address)(self.first)
        return f"{address}/{self.length}"


@dataclass(frozen=True, slots=True, order=True)
class Overlap:
    """A source of a gateway and the source of another that it shares addresses with."""

    source: str
    other: str
    """The other gateway: `namespace/name`."""
    other_source: str

    def __str__(self) -> str:
        if self.source == self.other_source:
            return f"{self.source} is claimed by {self.other}, too"
        return f"{self.source} overlaps {self.other_source} of {self.other}"


class _Router:
    """The claims on one router."""

    def __init__(self) -> None:
        self.owners: defaultdict[_Network, set[str]] = defaultdict(set)
        self._sorted: list[_Network] = []
        self._lengths: Counter[tuple[int, int]] = Counter()
        """How many networks there are by version and prefix length."""

    def add(self, gateway: str, network: _Network) -> None:
        if network not in self.owners:
            insort(self._sorted, network)
            self._lengths[network.version, network.length] += 1
        self.owners[network].add(gateway)

    def remove(self, gateway: str, network: _Network) -> None:
        owners = self.owners[network]
        owners.discard(gateway)
        if not owners:
            del self.owners[network]
            del self._sorted[bisect_left(self._sorted, network)]
            self._lengths[network.version, network.length] -= 1

    def touching(self, network: _Network) -> Iterator[_Network]:
        """Every claimed network that contains this one, is it, or is in it."""
        version, first, length = network
        for (other, shorter), count in self._lengths.items():
            if other == version and shorter < length and count:
                wider = _Network(version, first & -(1 << (_BITS[version] - shorter)), shorter)
                if wider in self.owners:
                    yield wider
        last = (version, first + (1 << (_BITS[version] - length)) - 1, _BITS[version])
        for n in range(bisect_left(self._sorted, network), len(self._sorted)):
            if self._sorted[n] > last:
                return
            yield self._sorted[n]


class Claims:
    """Which gateway claims what, kept up to date gateway by gateway."""

    def __init__(self) -> None:
        self._routers: defaultdict[str, _Router] = defaultdict(_Router)
        self._claims: dict[str, tuple[str, frozenset[_Network]]] = {}

    def put(self, gateway: str, router: str, sources: Iterable[str]) -> frozenset[str]:
        """Take what a gateway claims, instead of what it claimed before.

        Returns the other gateways whose overlaps have changed: none where the claims have not.
        """
        networks = frozenset(map(_Network.of, sources))
        old_router, old = self._claims.get(gateway, (router, frozenset()))
        kept = old & networks if old_router == router else frozenset()
        affected = self._others(gateway, old_router, old - kept)
        for network in old - kept:
            self._routers[old_router].remove(gateway, network)
        for network in networks - kept:
            self._routers[router].add(gateway, network)
        self._claims[gateway] = (router, networks)
        if not networks:
            del self._claims[gateway]
        return affected | self._others(gateway, router, networks - kept)

    def remove(self, gateway: str) -> frozenset[str]:
        """Forget a gateway; returns as `put` does."""
        router, _ = self._claims.get(gateway, ("", frozenset()))
        return self.put(gateway, router, ())

    def overlaps(self, gateway: str) -> tuple[Overlap, ...]:
        """Every source of a gateway that another one of its router claims, in order."""
        router, networks = self._claims.get(gateway, ("", frozenset()))
        return tuple(
            sorted(
                Overlap(str(network), other, str(there))
                for network in networks
                for there in self._routers[router].touching(network)
                for other in self._routers[router].owners[there]
                if other != gateway
            )
        )

    def _others(self, gateway: str, router: str, networks: frozenset[_Network]) -> frozenset[str]:
        claims = self._routers[router]
        found = (claims.owners[there] for each in networks for there in claims.touching(each))
        return frozenset(other for owners in found for other in owners if other != gateway)
