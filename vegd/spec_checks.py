"""What must hold between the fields of a specification, and what is odd though allowed.

`check` adds a fault to the draft for everything that is wrong, and says nothing about what depends
on a value that was faulted already. `warnings` looks at a specification that is sound. The reasons
are those of the network: a gateway that takes in packets of a family that it cannot send on loses
them silently (the resource's controller accepts that), a detection time of minutes detects nothing.
"""

from typing import TYPE_CHECKING

from vegd.auth_checks import check_auth, transition_warnings
from vegd.faults import Fault, Path, path_text
from vegd.policy_checks import check_policies, has, lacking, policy_warnings
from vegd.side_checks import (
    check_sides,
    family,
    is_link_local,
    not_a_host,
    own_addresses,
    subnets,
)
from vegd.spec_probes import check_probes, probe_warnings
from vegd.texts import Address

if TYPE_CHECKING:
    from vegd.document import Draft
    from vegd.spec import Bfd, GatewaySpec, Peer

_LONGEST_DETECTION_MS = 600_000
_OVN_DELAY_S = 5
"""OVN may act on AdminDown this late, if it wrote any status to its database shortly before."""


def check(draft: "Draft[GatewaySpec]") -> None:
    """Add every fault that shows only when fields are seen together."""
    check_sides(draft)
    check_policies(draft)
    bfd = draft.value.bfd
    if bfd is not None and draft.is_sound("bfd"):
        _check_detection(draft, bfd)
        _check_peers(draft, bfd)
        _check_unsolicited(draft, bfd)
        _check_dampening(draft, bfd)
        check_auth(draft, bfd)
    _check_drain(draft)
    check_probes(draft)


def _check_drain(draft: "Draft[GatewaySpec]") -> None:
    drain = draft.value.drain
    if drain.grace is None or not draft.is_whole("drain"):
        return
    for name, value in (("forwardFor", drain.forward_for), ("quietFor", drain.quiet_for)):
        if value > drain.grace:
            problem = f"is less than drain.{name} ({value})"
            remedy = f"give {value} or more, or make drain.{name} shorter"
            draft.object_to(("drain", "grace"), drain.grace, problem, remedy)
            return


def warnings(spec: "GatewaySpec") -> tuple[Fault, ...]:
    """What is allowed and yet probably not meant."""
    found = []
    if not spec.policies:
        problem = "no source is listed, so nothing is forwarded"
        found.append(Fault("policies", "", problem, "list the sources to forward"))
    found += policy_warnings(spec)
    if spec.bfd is None:
        return tuple(found)
    found += probe_warnings(spec.probes)
    forward_for = spec.drain.forward_for
    timers = [spec.bfd.timers_of(peer) for peer in spec.bfd.peers]
    detection_ms = max((one.multiplier * one.min_tx for one in timers), default=0)
    if forward_for <= _OVN_DELAY_S:
        problem = (
            f"is short: OVN may act on AdminDown up to {_OVN_DELAY_S} s late, "
            "and packets that it sends after the end are lost"
        )
        remedy = f"give {_OVN_DELAY_S + 1} or more, unless the router is not OVN"
        found.append(Fault("drain.forwardFor", str(forward_for), problem, remedy))
    if forward_for * 1000 < detection_ms:
        problem = f"is less than the {detection_ms / 1000:g} s in which a peer notices silence"
        remedy = f"give {-(-detection_ms // 1000)} or more, or make BFD faster"
        found.append(Fault("drain.forwardFor", str(forward_for), problem, remedy))
    found += transition_warnings(spec.bfd)
    return tuple(found)


def _check_detection(draft: "Draft[GatewaySpec]", bfd: "Bfd") -> None:
    names = {"minTX": bfd.min_tx, "minRX": bfd.min_rx, "multiplier": bfd.multiplier}
    sound = {name for name in names if draft.is_sound("bfd", name)}
    if len(sound) == len(names):
        _check_product(draft, ("bfd", "multiplier"), bfd.multiplier, bfd.min_tx, bfd.min_rx)
    for path, peer in draft.entries(("bfd", "peers"), bfd.peers):
        own = {"minTX": peer.min_tx, "minRX": peer.min_rx, "multiplier": peer.multiplier}
        overridden = [name for name, value in own.items() if value is not None]
        is_known = all(
            draft.is_sound(*path, name) and (name in overridden or name in sound) for name in own
        )
        if overridden and is_known:
            timers = bfd.timers_of(peer)
            _check_product(
                draft, (*path, overridden[-1]), timers.multiplier, timers.min_tx, timers.min_rx
            )


def _check_product(
    draft: "Draft[GatewaySpec]", path: Path, multiplier: int, min_tx: int, min_rx: int
) -> None:
    """Our side of both detection times (RFC 5880 §6.8.4); the peer can only make them longer."""
    slowest = max(min_tx, min_rx)
    if multiplier * slowest > _LONGEST_DETECTION_MS:
        seconds = multiplier * slowest / 1000
        value = {"minTX": min_tx, "minRX": min_rx}.get(str(path[-1]), multiplier)
        problem = f"makes a detection time of {seconds:g} s ({multiplier} x {slowest} ms)"
        draft.object_to(path, value, problem, "keep the product within 600 s")


def _check_unsolicited(draft: "Draft[GatewaySpec]", bfd: "Bfd") -> None:
    if not bfd.peers and not bfd.unsolicited and draft.is_whole("bfd"):
        remedy = "list the routers, each as {address: ADDRESS}, or remove bfd"
        draft.complain_of_field(("bfd", "peers"), "is missing", remedy)
    seen: dict[str, str] = {}
    for path, entry in draft.entries(("bfd", "unsolicited"), bfd.unsolicited):
        if draft.is_sound(*path, "interface"):
            first = seen.setdefault(entry.interface, path_text(path))
            if first != path_text(path):
                problem = f"is given twice, first in {first}"
                remedy = "list all of its sources there"
                draft.object_to((*path, "interface"), entry.interface, problem, remedy)


def _check_dampening(draft: "Draft[GatewaySpec]", bfd: "Bfd") -> None:
    path: Path = ("bfd", "dampening")
    policy = bfd.dampening
    are_sound = all(draft.is_sound(*path, name) for name in ("holdFor", "holdAtMost"))
    if policy is not None and are_sound and policy.hold_at_most < policy.hold_for:
        problem = f"is less than holdFor ({policy.hold_for})"
        where = (*path, "holdAtMost")
        draft.object_to(where, policy.hold_at_most, problem, "give as much or more (seconds)")


def _check_peers(draft: "Draft[GatewaySpec]", bfd: "Bfd") -> None:
    own = own_addresses(draft.value)
    seen: dict[tuple[object, ...], str] = {}
    for path, peer in draft.entries(("bfd", "peers"), bfd.peers):
        if not draft.is_sound(*path, "address"):
            continue
        where = (*path, "address")
        if (why := not_a_host(peer.address)) is not None:
            draft.complain(where, str(peer.address), why, "write the router's BFD address")
            continue
        if not _check_binding(draft, path, peer):
            continue
        if peer.address in own:
            problem = "is an address of the gateway itself"
            draft.object_to(where, str(peer.address), problem, "write the router's BFD address")
        elif (
            peer.interface is None
            and (lacking := _lacking_for_peer(draft, peer.address)) is not None
        ):
            problem = f"cannot be reached: there is no {lacking}"
            draft.object_to(where, str(peer.address), problem, "add one, or remove the peer")
        if draft.is_sound(*path, "local"):
            _check_local(draft, path, peer)
            local = peer.local or _first_local(draft, peer.address.version)
            key = (peer.address, local, peer.interface, peer.multihop)
            if key in seen:
                problem = f"is given twice, first as {seen[key]}"
                draft.object_to(where, str(peer.address), problem, "remove one of them")
            seen.setdefault(key, path_text(where))


def _check_binding(draft: "Draft[GatewaySpec]", path: Path, peer: "Peer") -> bool:
    """Whether interface and kind fit the peer's address, as far as they are sound."""
    is_on_link = is_link_local(peer.address)
    if not draft.is_sound(*path, "interface") or not draft.is_sound(*path, "multihop"):
        return not is_on_link
    if peer.multihop and (peer.interface is not None or is_on_link):
        # RFC 5883 §4: which interface the packets come in by is a matter of routing.
        what = peer.interface if peer.interface is not None else str(peer.address)
        problem = f"cannot be told for a peer of one link ({what})"
        remedy = "remove multihop, or write an address behind a router and no interface"
        draft.object_to((*path, "multihop"), "true", problem, remedy)
        return False
    if is_on_link and peer.interface is None:
        problem = "is a link-local address, which each interface may have on its link"
        remedy = "name its interface, for example interface: eth0"
        draft.complain((*path, "address"), str(peer.address), problem, remedy)
        return False
    return True


def _first_local(draft: "Draft[GatewaySpec]", version: int) -> Address | None:
    """The local address of a peer that names none; None when that is not known."""
    addresses = draft.value.internal.addresses or ()
    if not draft.is_whole("internal", "addresses"):
        return None
    return next((one.ip for one in addresses if one.version == version), None)


def _lacking_for_peer(draft: "Draft[GatewaySpec]", peer: Address) -> str | None:
    addresses = draft.value.internal.addresses
    knows_all = draft.is_whole("internal", "addresses")
    if addresses is not None and knows_all and not has(addresses, peer.version):
        return f"internal {family(peer.version)} address"
    is_on_link = any(peer in net for net in subnets(addresses or ()))
    if is_on_link or addresses is None or not knows_all:
        return None
    return lacking(draft, "internal", peer.version, needs_address=False)


def _check_local(draft: "Draft[GatewaySpec]", path: Path, peer: "Peer") -> None:
    if peer.local is None:
        return
    where, text = (*path, "local"), str(peer.local)
    addresses = draft.value.internal.addresses
    if peer.local.version != peer.address.version:
        problem = f"is of another family than the peer {peer.address}"
        draft.object_to(where, text, problem, "give both of one family, or leave local out")
        return
    if is_link_local(peer.local) is not is_link_local(peer.address):
        problem = f"and the peer {peer.address} are not both link-local"
        draft.object_to(where, text, problem, "give both of one kind, or leave local out")
        return
    if peer.interface not in (None, draft.value.internal.interface) or is_link_local(peer.local):
        # Only the machine knows the addresses of other interfaces.
        return
    if addresses is None or not draft.is_whole("internal", "addresses"):
        return
    if peer.local not in [one.ip for one in addresses]:
        remedy = "list it in internal.addresses, or leave local out"
        draft.object_to(where, text, "is not an internal address", remedy)
