"""Random policies, what they let a packet do, and random changes of them. Pure.

`Wish.shown` is written from the rules in docs/configuration.md alone ("Who decides"), so that it
can judge the program: of the prefixes that a source falls under the longest decides, at equal
length no-SNAT before SNAT, then what is listed first; who does not hold for the destination is
passed over.
"""

import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from typing import Any

HOSTS = range(10, 30)
"""Numbers of the hosts in the VPC: 192.168.1.N and fd01::N."""
SITES = range(1, 6)
"""Numbers of the places outside: 172.17.1.N and fd17::1:N."""
_NUMBERS = range(11, 17)
"""Numbers of addresses that the gateway may have outside: 172.17.0.N and fd17::N."""
_EXTERNAL = {
    "interface": "net1",
    "macvlan": {"parent": "ext0"},
    "gateways": ["172.17.0.1", "fd17::1"],
}
_LENGTHS = (0, 0, 1, 2, 4, 8)
"""Bits that a random prefix leaves open."""

Change = Callable[["Wish", random.Random], "Wish"]


def host(version: int, number: int) -> str:
    """A host in the VPC."""
    return str(ip_address({4: "192.168.1.0", 6: "fd01::"}[version]) + number)


def site(version: int, number: int) -> str:
    """A place outside."""
    return str(ip_address({4: "172.17.1.0", 6: "fd17::1:0"}[version]) + number)


def external(version: int, number: int) -> str:
    """An address of the gateway outside."""
    return str(ip_address({4: "172.17.0.0", 6: "fd17::"}[version]) + number)


@dataclass(frozen=True)
class Policy:
    """One entry of `policies`."""

    name: str
    snat: bool
    blocks: tuple[str, ...]
    pool: tuple[str, ...] = ()
    """`snatTo.addresses`; empty for what the gateway shows."""
    to: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()

    def section(self) -> dict[str, Any]:
        """As the configuration has it."""
        optional = {
            "snatTo": {"addresses": [*self.pool]} if self.pool and self.snat else None,
            "destinationCIDRs": [*self.to],
            "excludedDestinationCIDRs": [*self.excluded],
        }
        return {
            "name": self.name,
            "snat": self.snat,
            "ipBlocks": [*self.blocks],
            **{key: value for key, value in optional.items() if value},
        }

    def length(self, source: str, destination: str) -> int:
        """The length of the prefix by which it holds; -1 where it does not."""
        if (self.to and not _among(destination, self.to)) or _among(destination, self.excluded):
            return -1
        found = [each for each in self.blocks if _is_in(source, each)]
        return max((int(each.rpartition("/")[2]) for each in found), default=-1)


def _among(address: str, networks: Sequence[str]) -> bool:
    return any(_is_in(address, each) for each in networks)


@functools.cache
def _is_in(address: str, network: str) -> bool:
    return ip_address(address) in ip_network(network)


def _version(address: str) -> int:
    return 6 if ":" in address else 4


@dataclass(frozen=True)
class Wish:
    """What changes of a configuration."""

    policies: tuple[Policy, ...]
    addresses: tuple[str, ...]
    """Of the external interface."""
    pool: tuple[str, ...] = ()
    """`external.snat.addresses`."""

    def sections(self) -> dict[str, Any]:
        """The sections of the configuration that change."""
        lengths = {4: 16, 6: 64}
        addresses = [f"{each}/{lengths[_version(each)]}" for each in self.addresses]
        snat = {"snat": {"addresses": [*self.pool]}} if self.pool else {}
        return {
            "policies": [each.section() for each in self.policies],
            "external": {**_EXTERNAL, "addresses": addresses, **snat},
        }

    def shown(self, source: str, destination: str) -> frozenset[str]:
        """The addresses that the destination may see: the source itself without SNAT, none if
        nothing gets there."""
        holding = [
            (-length, policy.snat, place)
            for place, policy in enumerate(self.policies)
            if (length := policy.length(source, destination)) >= 0
        ]
        if not holding:
            return frozenset()
        policy = self.policies[min(holding)[2]]
        if not policy.snat:
            return frozenset((source,))
        version = _version(source)
        for pool in (policy.pool or self.pool, self.addresses):
            usable = frozenset(each for each in pool if _version(each) == version)
            if usable:
                break
        return usable


BEGIN = Wish(
    policies=(
        Policy("vpc", snat=True, blocks=("192.168.1.0/24", "fd01::/120")),
        Policy("direct", snat=False, blocks=("192.168.1.16/30", "fd01::10/126")),
        Policy(
            "pooled", True, ("192.168.1.12/31", "fd01::c/127"), (external(4, 16), external(6, 16))
        ),
    ),
    addresses=(external(4, 11), external(6, 11)),
)


def change(wish: Wish, rng: random.Random) -> Wish:
    """Another wish that differs in one thing."""
    while True:
        found = rng.choice(_CHANGES)(wish, rng)
        if found != wish and len(found.policies) <= 12:
            return found


def _add_policy(wish: Wish, rng: random.Random) -> Wish:
    snat = rng.random() < 0.7
    fresh = Policy(
        name=_name(rng),
        snat=snat,
        blocks=_several(rng, lambda: _block(rng), 3),
        pool=_addresses(rng) if snat and rng.random() < 0.4 else (),
        to=_several(rng, lambda: _place(rng), 2) if rng.random() < 0.3 else (),
        excluded=_several(rng, lambda: _place(rng), 2) if rng.random() < 0.3 else (),
    )
    place = rng.randint(0, len(wish.policies))
    return replace(wish, policies=(*wish.policies[:place], fresh, *wish.policies[place:]))


def _remove_policy(wish: Wish, rng: random.Random) -> Wish:
    gone = rng.choice(wish.policies)
    return replace(wish, policies=tuple(each for each in wish.policies if each is not gone))


def _reorder(wish: Wish, rng: random.Random) -> Wish:
    return replace(wish, policies=tuple(rng.sample(wish.policies, len(wish.policies))))


def _of_one(alter: Callable[[Policy, random.Random], Policy]) -> Change:
    def one(wish: Wish, rng: random.Random) -> Wish:
        place = rng.randrange(len(wish.policies))
        altered = alter(wish.policies[place], rng)
        policies = (*wish.policies[:place], altered, *wish.policies[place + 1 :])
        return replace(wish, policies=policies)

    return one


def _change_addresses(wish: Wish, rng: random.Random) -> Wish:
    changed = _toggled(wish.addresses, external(rng.choice((4, 6)), rng.choice(_NUMBERS)))
    versions = {_version(each) for each in changed}
    return replace(wish, addresses=changed) if versions == {4, 6} else wish


_CHANGES: tuple[Change, ...] = (
    _add_policy,
    _remove_policy,
    _reorder,
    _change_addresses,
    lambda wish, rng: replace(wish, pool=_addresses(rng) if rng.random() < 0.7 else ()),
    _of_one(lambda policy, rng: replace(policy, name=_name(rng))),
    _of_one(lambda policy, _: replace(policy, snat=not policy.snat, pool=())),
    _of_one(lambda policy, rng: replace(policy, pool=_addresses(rng) if policy.snat else ())),
    _of_one(
        lambda policy, rng: replace(
            policy, blocks=_toggled(policy.blocks, _block(rng)) or policy.blocks
        )
    ),
    _of_one(
        lambda policy, rng: replace(
            policy, blocks=_toggled(policy.blocks, rng.choice(policy.blocks)) or policy.blocks
        )
    ),
    _of_one(lambda policy, rng: replace(policy, to=_toggled(policy.to, _place(rng)))),
    _of_one(lambda policy, rng: replace(policy, excluded=_toggled(policy.excluded, _place(rng)))),
)


def _toggled(listed: tuple[str, ...], each: str) -> tuple[str, ...]:
    if each in listed:
        return tuple(other for other in listed if other != each)
    return (*listed, each)


def _several(rng: random.Random, draw: Callable[[], str], most: int) -> tuple[str, ...]:
    return tuple(dict.fromkeys(draw() for _ in range(rng.randint(1, most))))


def _name(rng: random.Random) -> str:
    return f"p{rng.randrange(10**6)}"


def _prefix(rng: random.Random, address: str) -> str:
    whole = ip_address(address).max_prefixlen
    return str(ip_network(f"{address}/{whole - rng.choice(_LENGTHS)}", strict=False))


def _block(rng: random.Random) -> str:
    return _prefix(rng, host(rng.choice((4, 6)), rng.choice(HOSTS)))


def _place(rng: random.Random) -> str:
    return _prefix(rng, site(rng.choice((4, 6)), rng.choice(SITES)))


def _addresses(rng: random.Random) -> tuple[str, ...]:
    def draw() -> str:
        return external(rng.choice((4, 6)), rng.choice(_NUMBERS))

    return _several(rng, draw, 4)
