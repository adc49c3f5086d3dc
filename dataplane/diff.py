"""From two states to a plan. Pure; `diff(x, x)` is empty.

Order: the nftables table first, so that SNAT and its guard stand before anything is forwarded; then
links, addresses, routes, rules, parameters, and the switch of forwarding last of all. What is not
wished any more goes afterwards, in reverse; an object is added or replaced before one is removed.
"""

from collections.abc import Iterable

from dataplane.model import DataplaneState, Link, Sysctl
from dataplane.plan import NftChange, Object, Op, Plan
from dataplane.render import FORWARDING

_SWITCHES = frozenset(FORWARDING.values())


def diff(observed: DataplaneState, desired: DataplaneState) -> Plan:
    """What to do so that `observed` becomes `desired`. Foreign objects are never removed."""
    adds = [
        *_links(observed, desired),
        *_added(observed.addresses, desired.addresses),
        *_added(observed.routes, desired.routes),
        *_added(observed.rules, desired.rules),
        *_shapers(observed, desired),
        *_sysctls(observed, desired),
    ]
    removals = [
        *_removed_shapers(observed, desired),
        *_removed(observed.rules, desired.rules),
        *_removed(observed.routes, desired.routes),
        *_removed(observed.addresses, desired.addresses),
        *_removed_links(observed, desired),
    ]
    nft = _nft(observed, desired)
    if desired.nft is None:
        # Taking everything away: the table goes last, after forwarding has lost its routes.
        return Plan((*adds, *removals, *nft))
    return Plan((*nft, *adds, *removals))


def _nft(observed: DataplaneState, desired: DataplaneState) -> list[Op]:
    if observed.nft == desired.nft:
        return []
    change = NftChange(observed.nft, desired.nft)
    if desired.nft is None:
        return [Op("remove", change)]
    return [Op("change" if observed.nft else "add", change)]


def _added(observed: Iterable[Object], desired: Iterable[Object]) -> list[Op]:
    missing = set(desired) - set(observed)
    return [Op("add", each) for each in sorted(missing, key=str)]


def _removed(observed: Iterable[Object], desired: Iterable[Object]) -> list[Op]:
    wished = set(desired)
    ours = [each for each in observed if each not in wished and getattr(each, "owned", False)]
    return [Op("remove", each) for each in sorted(ours, key=str)]


def _links(observed: DataplaneState, desired: DataplaneState) -> list[Op]:
    there = {link.name: link for link in observed.links}
    ops = []
    # A macvlan stands on its parent, which may be a link of ours, too.
    for wish in sorted(desired.links, key=lambda link: (link.macvlan is not None, link.name)):
        link = there.get(wish.name)
        if link is None:
            ops.append(Op("add", wish))
        elif not _satisfies(link, wish):
            ops.append(Op("change", wish))
    return ops


def _satisfies(link: Link, wish: Link) -> bool:
    return (
        link.up == wish.up
        and wish.mtu in (None, link.mtu)
        and wish.mac in (None, link.mac)
        and (wish.macvlan is None or wish.macvlan == link.macvlan)
    )


def _removed_links(observed: DataplaneState, desired: DataplaneState) -> list[Op]:
    wished = {link.name for link in desired.links}
    gone = [link for link in observed.links if link.name not in wished and link.owned]
    return [Op("remove", link) for link in sorted(gone, key=lambda link: link.name)]


def _shapers(observed: DataplaneState, desired: DataplaneState) -> list[Op]:
    shaped = {each.interface for each in observed.shapers}
    return [
        Op("change" if each.interface in shaped else "add", each)
        for each in sorted(desired.shapers - observed.shapers, key=str)
    ]


def _removed_shapers(observed: DataplaneState, desired: DataplaneState) -> list[Op]:
    wished = {each.interface for each in desired.shapers}
    gone = [each for each in observed.shapers if each.interface not in wished]
    return [Op("remove", each) for each in sorted(gone, key=str)]


def _sysctls(observed: DataplaneState, desired: DataplaneState) -> list[Op]:
    def forwarding_last(each: Sysctl) -> tuple[bool, str]:
        return each.path in _SWITCHES, each.path

    wrong = sorted(desired.sysctls - observed.sysctls, key=forwarding_last)
    return [Op("change", each) for each in wrong]
