"""Which connections are logged: the rules of the configuration as one question.

`exclude` wins over `include`; without a rule in `include` everything is included. A rule asks for
all of its fields, and a field is content with any of its entries. `snat` is also fitted by what has
both kinds of NAT, `snat_dnat` by nothing else. Protocols without ports have port 0.
"""

from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Network
from typing import Any

from dataplane.conntrack_events import DESTINATION, SOURCE, Tracked, ends
from vegd.observer.config import Filters, Match, PortRange, Rule
from vegd.observer.words import FAMILIES, NAT_TYPES, protocol_name
from vegd.texts import Network

Filter = Callable[[Tracked], bool]

_Test = tuple[int, Callable[[Any], bool]]
"""A place in what is known of a connection, and what to ask of what stands there."""

_VERSION, _PROTOCOL, _NAT, _ORIGINAL, _TRANSLATED = 0, 1, 2, 3, 7
_SOURCE, _SOURCE_PORT, _DESTINATION, _DESTINATION_PORT = range(4)
"""Within `_ORIGINAL` and `_TRANSLATED`, as in `Ends`."""
_NEEDED = {"snat": SOURCE, "dnat": DESTINATION, "snat_dnat": SOURCE | DESTINATION}


def compiled(filters: Filters) -> Filter:
    """The question. Of a rule only what it really asks for is tested, the cheapest first."""
    include = [list(_tests(each)) for each in filters.include]
    exclude = [list(_tests(each)) for each in filters.exclude]
    if not include and not exclude:
        return lambda _: True

    def is_logged(tracked: Tracked) -> bool:
        original, translated = ends(tracked)
        known = (tracked.version, tracked.protocol, tracked.nat, *original, *translated)
        return not _any_fits(exclude, known) and (not include or _any_fits(include, known))

    return is_logged


def _any_fits(rules: list[list[_Test]], known: tuple[Any, ...]) -> bool:
    for tests in rules:
        for place, test in tests:
            if not test(known[place]):
                break
        else:
            return True
    return False


def _tests(rule: Rule) -> Iterator[_Test]:
    if rule.address_families:
        yield _VERSION, _one_of(v for v, name in FAMILIES.items() if name in rule.address_families)
    if rule.protocols:
        yield _PROTOCOL, _one_of(n for n in range(256) if protocol_name(n) in rule.protocols)
    if rule.nat_types:
        needed = [_NEEDED[each] for each in rule.nat_types]
        yield _NAT, _one_of(nat for nat in NAT_TYPES if any(nat & bits == bits for bits in needed))
    yield from _match_tests(_ORIGINAL, rule.original)
    yield from _match_tests(_TRANSLATED, rule.translated)


def _match_tests(place: int, match: Match) -> Iterator[_Test]:
    for inside, ranges in (
        (_SOURCE_PORT, match.source_ports),
        (_DESTINATION_PORT, match.destination_ports),
    ):
        if ranges:
            yield place + inside, _within(ranges)
    for inside, networks in (
        (_SOURCE, match.source_cidrs),
        (_DESTINATION, match.destination_cidrs),
    ):
        if networks:
            yield place + inside, _inside(networks)


def _one_of(values: Iterator[int]) -> Callable[[int], bool]:
    return frozenset(values).__contains__


def _within(ranges: Sequence[PortRange]) -> Callable[[int], bool]:
    pairs = [(each.start, each.end) for each in ranges]
    return lambda port: any(start <= port <= end for start, end in pairs)


def _inside(networks: Sequence[Network]) -> Callable[[bytes], bool]:
    masks: dict[int, list[tuple[int, int]]] = {4: [], 16: []}
    for each in networks:
        size = 4 if isinstance(each, IPv4Network) else 16
        masks[size].append((int(each.netmask), int(each.network_address)))

    def contain(address: bytes) -> bool:
        number = int.from_bytes(address, "big")
        return any(number & mask == network for mask, network in masks[len(address)])

    return contain
