"""Overlapping prefixes to disjoint intervals: the longest prefix decides, then no-SNAT wins. Pure.

nftables' interval maps refuse overlaps, so who wins is decided here, once, instead of by the order
of rules.
"""

from collections.abc import Iterable
from typing import NamedTuple

from dataplane.model import IPNetwork, Policy


class Interval(NamedTuple):
    """Addresses from `first` to `last`, both included, that fall under `policy`."""

    first: int
    last: int
    policy: Policy


def flatten(policies: Iterable[Policy], version: int) -> tuple[Interval, ...]:
    """The disjoint intervals of one family, in order; neighbours of one policy are joined.

    At equal length a policy without SNAT wins, then the one that comes first.
    """
    claims: list[tuple[int, bool, int, IPNetwork, Policy]] = [
        (source.prefixlen, not policy.snat, -place, source, policy)
        for place, policy in enumerate(policies)
        for source in policy.sources
        if source.version == version
    ]
    # Weakest first: a stronger claim is laid over the weaker ones and cuts its part out of them.
    claims.sort(key=lambda claim: claim[:3])
    laid: list[Interval] = []
    for _, _, _, source, policy in claims:
        first, last = int(source.network_address), int(source.broadcast_address)
        laid = [part for each in laid for part in _without(each, first, last)]
        laid.append(Interval(first, last, policy))
    return _joined(sorted(laid, key=lambda each: each.first))


def _without(interval: Interval, first: int, last: int) -> list[Interval]:
    if last < interval.first or interval.last < first:
        return [interval]
    parts = []
    if interval.first < first:
        parts.append(interval._replace(last=first - 1))
    if last < interval.last:
        parts.append(interval._replace(first=last + 1))
    return parts


def _joined(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    joined: list[Interval] = []
    for each in intervals:
        if joined and joined[-1].policy is each.policy and joined[-1].last + 1 == each.first:
            joined[-1] = joined[-1]._replace(last=each.last)
        else:
            joined.append(each)
    return tuple(joined)
