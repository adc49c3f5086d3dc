"""What Kube-OVN makes of the specification of a Subnet, and says of it in its status. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from kube.objects import Object
from kube.schema import split
from vegd.lab.cluster.logical import DEFAULT_VPC

DEFAULT_SUBNET = "ovn-default"
_OVN = "ovn"
_LARGEST_INTEGER = 1 << 53
"""Of JSON: Kube-OVN writes numbers of addresses as floating point."""

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Shape:
    """What the network has of a subnet."""

    vpc: str
    """Empty for a network outside, which is no switch of OVN's."""
    cidrs: tuple[str, ...]
    gateways: tuple[str, ...]


def is_of_ovn(spec: Object) -> bool:
    """Whether it is a logical switch; otherwise it is a network of an attachment."""
    provider = str(spec.get("provider") or _OVN)
    return provider == _OVN or provider.endswith(f".{_OVN}")


def completed(spec: Object) -> Object:
    """The specification with what the user may leave out. Raises ValueError for what is wrong."""
    cidrs = split(spec.get("cidrBlock", ""))
    if not cidrs:
        raise ValueError("spec.cidrBlock: is empty; write a network, for example 10.17.0.0/16")
    networks = [ip_network(each, strict=False) for each in cidrs]
    done = dict(spec)
    done.setdefault("protocol", "Dual" if len(networks) > 1 else f"IPv{networks[0].version}")
    done.setdefault("provider", _OVN)
    done.setdefault("gateway", ",".join(str(each[1]) for each in networks))
    if is_of_ovn(done):
        done.setdefault("vpc", DEFAULT_VPC)
        done.setdefault("gatewayType", "distributed")
    excluded = [str(each) for each in spec.get("excludeIps") or ()]
    covered = list(_ranges(excluded))
    excluded += [
        gateway
        for gateway in split(done["gateway"])
        if not any(_covers(each, ip_address(gateway)) for each in covered)
    ]
    return done | {"excludeIps": excluded}


def shape(spec: Object) -> Shape:
    """What a completed specification asks of the network. Raises ValueError."""
    cidrs, gateways = split(spec["cidrBlock"]), split(spec["gateway"])
    networks = [ip_network(each, strict=False) for each in cidrs]
    for gateway in gateways:
        if not any(ip_address(gateway) in network for network in networks):
            raise ValueError(
                f"spec.gateway: {gateway} is not in {spec['cidrBlock']}; use an address of it"
            )
    vpc = str(spec["vpc"]) if is_of_ovn(spec) else ""
    return Shape(vpc, tuple(str(each) for each in networks), gateways)


def with_lengths(shape: Shape) -> tuple[str, ...]:
    """The gateways' addresses, each with the prefix length of its network."""
    lengths = {ip_network(each).version: ip_network(each).prefixlen for each in shape.cidrs}
    return tuple(f"{each}/{lengths[ip_address(each).version]}" for each in shape.gateways)


def status(spec: Object, used: int | None) -> Object:
    """The status of a subnet that is there; `used` is how many pods have addresses, if known."""
    found: Object = {
        "conditions": [
            _condition("Validated", True, "ValidateLogicalSwitchSuccess", ""),
            _condition("Ready", True, "ReconcileLogicalSwitchSuccess", ""),
        ]
    }
    if used is not None:
        excluded = list(_ranges(spec["excludeIps"]))
        for cidr in split(spec["cidrBlock"]):
            network = ip_network(cidr, strict=False)
            own = [each for each in excluded if each[0].version == network.version]
            # The first and the last address of a network are nobody's.
            free = network.num_addresses - 2 - sum(int(b) - int(a) + 1 for a, b in own) - used
            found[f"v{network.version}availableIPs"] = _number(max(free, 0))
            found[f"v{network.version}usingIPs"] = used
    return found


def refused(problem: str) -> Object:
    """The status of a subnet that cannot be."""
    reason = "ValidateLogicalSwitchFailed"
    kinds = ("Validated", "Ready")
    return {"conditions": [_condition(kind, False, reason, problem) for kind in kinds]}


def vpc_status(name: str, spec: Object, subnets: Iterable[tuple[str, Object]]) -> Object:
    """The status of a VPC that has these subnets, by name, among others."""
    own = {subnet: each for subnet, each in subnets if is_of_ovn(each) and each.get("vpc") == name}
    default = next((subnet for subnet in sorted(own) if own[subnet].get("default")), "")
    if name != DEFAULT_VPC and spec.get("defaultSubnet") in own:
        default = spec["defaultSubnet"]
    return {
        "router": name,
        "standby": True,
        "default": name == DEFAULT_VPC,
        "defaultLogicalSwitch": default,
        "subnets": sorted(own),
    }


def default_subnet() -> Object:
    """The Subnet of pods that name none."""
    spec: Object = {"cidrBlock": "10.16.0.0/16", "default": True, "natOutgoing": True}
    return completed(spec)


def _condition(kind: str, holds: bool, reason: str, message: str) -> Object:
    return {"type": kind, "status": str(holds), "reason": reason, "message": message}


def _ranges(texts: Sequence[str]) -> Iterator[tuple[Address, Address]]:
    """Of excludeIps: an address, or the first and the last with two dots between."""
    for text in texts:
        first, _, last = text.partition("..")
        yield ip_address(first), ip_address(last or first)


def _covers(ends: tuple[Address, Address], address: Address) -> bool:
    first, last = ends
    return first.version == address.version and int(first) <= int(address) <= int(last)


def _number(count: int) -> int | float:
    return count if count < _LARGEST_INTEGER else float(count)
