"""What must hold for policies and for what SNAT shows, and what is odd about them though allowed.

Part of `vegd.spec_checks`. Where prefixes overlap the longest decides, and at equal length no-SNAT
before SNAT, then what is listed first; so a prefix may be in several policies, as long as the
stronger one leaves some destinations to the others.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vegd.document import Draft
from vegd.faults import Fault, Path, path_text, shown
from vegd.side_checks import (
    SIDES,
    SideName,
    family,
    names_its_subnet,
    not_a_host,
    side_of,
    sound_subnets,
)
from vegd.texts import Address, Network

if TYPE_CHECKING:
    from vegd.spec import GatewaySpec, Policy
    from vegd.spec_traffic import Snat

_MOST_ADDRESSES = 1024
"""Each that is in an external subnet is put on the interface."""


def check_policies(draft: "Draft[GatewaySpec]") -> None:
    """Add the faults of policies, and of what SNAT shows."""
    names: dict[str, str] = {}
    outside = sound_subnets(draft, "external")
    if draft.is_sound("external", "snat"):
        _check_snat(draft, ("external", "snat"), draft.value.external.snat)
    for path, policy in draft.entries(("policies",), draft.value.policies):
        if draft.is_sound(*path, "name"):
            if policy.name in names:
                problem = f"is the name of {names[policy.name]} too"
                draft.object_to((*path, "name"), policy.name, problem, "give each its own name")
            names.setdefault(policy.name, path_text(path))
        snat = policy.snat if draft.is_sound(*path, "snat") else None
        _check_blocks(draft, path, policy)
        if snat:
            _check_external_sources(draft, path, policy, outside)
        _check_families(draft, path, policy, snat)
        if policy.snat_to is not None and draft.is_sound(*path, "snatTo"):
            if snat is False:
                remedy = "write snat: true, or remove snatTo"
                problem = "is given although the policy is without SNAT"
                draft.complain_of_field((*path, "snatTo"), problem, remedy)
            _check_snat(draft, (*path, "snatTo"), policy.snat_to)


def _check_blocks(draft: "Draft[GatewaySpec]", path: Path, policy: "Policy") -> None:
    seen: dict[Network, Path] = {}
    for where, block in draft.entries((*path, "ipBlocks"), policy.ip_blocks):
        first = seen.setdefault(block, where)
        if first != where:
            problem = f"is given twice, first as {path_text(first)}"
            draft.object_to(where, str(block), problem, "remove one")


def _check_snat(draft: "Draft[GatewaySpec]", path: Path, snat: "Snat") -> None:
    inside, outside = sound_subnets(draft, "internal"), sound_subnets(draft, "external")
    hops = {gateway for side in SIDES for gateway in side_of(draft, side).gateways}
    count = 0
    for where, each in draft.entries((*path, "addresses"), snat.addresses):
        text = str(each)
        count += len(each)
        wrong = not_a_host(each.first) or not_a_host(each.last)
        for network in (*outside, *inside):
            wrong = wrong or names_its_subnet(each.first, network)
            wrong = wrong or names_its_subnet(each.last, network)
        hop = next((gateway for gateway in hops if gateway in each), None)
        taken = next((net for net in inside if each.overlaps(net)), None)
        if wrong is not None:
            draft.complain(where, text, wrong, "list addresses of hosts of the outside")
        elif hop is not None:
            problem = f"has the gateway {hop} in it"
            draft.object_to(where, text, problem, "list addresses that are the gateway's own")
        elif taken is not None:
            problem = f"overlaps the internal network {taken}"
            draft.object_to(where, text, problem, "list addresses of the outside")
    if count > _MOST_ADDRESSES:
        remedy = f"list at most {_MOST_ADDRESSES}"
        draft.object_to((*path, "addresses"), count, "is the number of addresses, too many", remedy)


def _check_external_sources(
    draft: "Draft[GatewaySpec]", path: Path, policy: "Policy", outside: list[Network]
) -> None:
    for where, block in draft.entries((*path, "ipBlocks"), policy.ip_blocks):
        common = next((net for net in outside if _meet(net, block)), None)
        # Everything (0.0.0.0/0, ::/0) is a plain way to say "whoever comes from the VPC".
        if common is not None and block.prefixlen > 0:
            problem = f"overlaps the external network {common}, which is no source in the VPC"
            draft.object_to(where, str(block), problem, "list networks of the VPC only")


def _meet(one: Network, other: Network) -> bool:
    """As `overlaps`, which makes two more addresses for each network, and keeps them."""
    return one.network_address in other or other.network_address in one


def _check_families(
    draft: "Draft[GatewaySpec]",
    path: Path,
    policy: "Policy",
    snat: bool | None,
) -> None:
    for where, block, side, missing in _not_forwarded(draft, path, policy, snat):
        if not _is_single_stack(draft, side, block.version):
            problem = f"cannot be forwarded: there is no {missing}"
            remedy = f"add one, or remove the {family(block.version)} sources"
            draft.object_to(where, str(block), problem, remedy)


def _not_forwarded(
    draft: "Draft[GatewaySpec]", path: Path, policy: "Policy", snat: bool | None
) -> Iterator[tuple[Path, Network, SideName, str]]:
    """The first source of each family that cannot be forwarded: its place, the side that is to
    blame, and what is missing there."""
    told: set[int] = set()
    for where, block in draft.entries((*path, "ipBlocks"), policy.ip_blocks):
        if block.version in told:
            continue
        told.add(block.version)
        for side in SIDES:
            # Without SNAT the packets keep their source and need the next hop only.
            needs_address = side == "internal" or snat is True
            missing = lacking(draft, side, block.version, needs_address=needs_address)
            if missing is not None:
                yield where, block, side, missing
                break


def _is_single_stack(draft: "Draft[GatewaySpec]", name: SideName, version: int) -> bool:
    """Whether a side leaves a family out, as a whole, while the other family is forwarded: half a
    gateway is better than none."""
    other = 10 - version
    blocks = (block for policy in draft.value.policies for block in policy.ip_blocks)
    return (
        not has(side_of(draft, name).gateways, version)
        and any(block.version == other for block in blocks)
        and all(lacking(draft, side, other, needs_address=True) is None for side in SIDES)
    )


def lacking(
    draft: "Draft[GatewaySpec]", name: SideName, version: int, *, needs_address: bool
) -> str | None:
    """What of this family the configuration lacks on a side; None also when it is not known."""
    side = side_of(draft, name)
    if draft.is_whole(name, "gateways") and not has(side.gateways, version):
        return f"{name} {family(version)} gateway"
    if not needs_address or side.addresses is None or not draft.is_whole(name, "addresses"):
        return None
    return None if has(side.addresses, version) else f"{name} {family(version)} address"


def has(values: "tuple[Address, ...] | tuple[object, ...]", version: int) -> bool:
    """Whether any of these addresses or networks is of the family."""
    return any(getattr(value, "version", None) == version for value in values)


def policy_warnings(spec: "GatewaySpec") -> list[Fault]:
    """Sources that a policy names in vain, and a family that is not forwarded."""
    found = _family_warnings(spec)
    order = sorted(enumerate(spec.policies), key=lambda each: each[1].snat)
    whole: dict[Network, str] = {}
    for place, policy in order:
        for position, block in enumerate(policy.ip_blocks):
            where = f"policies[{place}].ipBlocks[{position}]"
            if block in whole:
                problem = f"has no effect: {whole[block]} decides for all destinations"
                remedy = "remove it, or give that policy destinationCIDRs"
                found.append(Fault(where, shown(str(block)), problem, remedy))
            elif policy.destinations is None and policy.excluded_destinations is None:
                whole[block] = where
            elif policy.destinations is not None and not has(policy.destinations, block.version):
                problem = f"has no effect: destinationCIDRs has no {family(block.version)} network"
                remedy = f"list the {family(block.version)} destinations, too"
                found.append(Fault(where, shown(str(block)), problem, remedy))
    return found


def _family_warnings(spec: "GatewaySpec") -> list[Fault]:
    """The family that one side leaves out although policies name it: once is enough."""
    draft = Draft(spec)
    for path, policy in draft.entries(("policies",), spec.policies):
        for where, block, _, missing in _not_forwarded(draft, path, policy, policy.snat):
            problem = f"is not forwarded: there is no {missing}"
            remedy = f"add one, or remove the {family(block.version)} sources"
            return [Fault(path_text(where), shown(str(block)), problem, remedy)]
    return []
