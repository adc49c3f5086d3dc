"""What of a resource cannot be carried out, whatever else there is in the cluster. Pure.

Every mistake is named by its field, with its value and the remedy. Our CustomResourceDefinition
refuses these by itself; Kube-OVN's own lets them through.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from kube.schema import EgressGateway, Fault, GatewaySpec, family, mbit

_MOST_MBIT = 34_359
"""The kernel counts bytes per second in 32 bits."""


def gateway_faults(gateway: EgressGateway) -> tuple[Fault, ...]:
    """Everything in the resource that cannot be carried out, whatever else there is in the
    cluster. What the CustomResourceDefinition refuses may have come past an older one."""
    spec = gateway.spec
    return (
        *_policy_faults(spec),
        *_selector_faults(spec),
        *_bfd_faults(spec),
        *_address_faults(spec),
        *_rate_faults(spec),
        *_foreign_faults(spec),
    )


def _policy_faults(spec: GatewaySpec) -> Iterator[Fault]:
    if not spec.policies and not spec.selectors:
        yield Fault("spec", "", "has neither policies nor selectors", "say whose traffic it takes")
    for place, policy in enumerate(spec.policies):
        path = f"spec.policies[{place}]"
        if not policy.ip_blocks and not policy.subnets:
            yield Fault(path, "", "names no source", "give ipBlocks or subnets")
        for block, text in enumerate(policy.ip_blocks):
            yield from _network_faults(f"{path}.ipBlocks[{block}]", text)


def _bfd_faults(spec: GatewaySpec) -> Iterator[Fault]:
    bfd = spec.bfd
    if not bfd.enabled:
        return
    if not 1 <= bfd.multiplier <= 255:
        remedy = "give 1 to 255: a BFD packet has 8 bits for it"
        yield Fault("spec.bfd.multiplier", str(bfd.multiplier), "is out of range", remedy)
    for name, value in (("minTX", bfd.min_tx), ("minRX", bfd.min_rx)):
        if not 1 <= value <= 60_000:
            remedy = "give 1 to 60000 ms; slower failures are found by the kubelet"
            yield Fault(f"spec.bfd.{name}", str(value), "is out of range", remedy)
    slowest = max(bfd.min_tx, bfd.min_rx)
    if bfd.multiplier <= 255 and slowest <= 60_000 and bfd.multiplier * slowest > 600_000:
        problem = f"would notice a failure after {bfd.multiplier * slowest / 1000:g} s"
        remedy = "reduce multiplier, minTX or minRX to at most 600 s"
        yield Fault("spec.bfd", "", problem, remedy)


def _selector_faults(spec: GatewaySpec) -> Iterator[Fault]:
    for place, selector in enumerate(spec.selectors):
        for name, labels in (
            ("namespaceSelector", selector.namespace_selector),
            ("podSelector", selector.pod_selector),
        ):
            path = f"spec.selectors[{place}].{name}.matchExpressions"
            for number, each in enumerate(labels.match_expressions if labels else ()):
                yield from _value_faults(f"{path}[{number}]", each.operator, bool(each.values))
    for place, term in enumerate(spec.node_selector):
        for name in ("matchExpressions", "matchFields"):
            path = f"spec.nodeSelector[{place}].{name}"
            for number, found in enumerate(term.get(name) or ()):
                operator, values = str(found.get("operator", "")), found.get("values")
                yield from _value_faults(f"{path}[{number}]", operator, bool(values))


def _value_faults(path: str, operator: str, has_values: bool) -> Iterator[Fault]:
    if operator in ("In", "NotIn") and not has_values:
        yield Fault(f"{path}.values", "", f"is empty, and {operator} needs values", "list them")
    if operator in ("Exists", "DoesNotExist") and has_values:
        yield Fault(f"{path}.values", "", f"is given, and {operator} has none", "leave it out")


def _address_faults(spec: GatewaySpec) -> Iterator[Fault]:
    inside = {family(block) for each in spec.policies for block in each.ip_blocks}
    outside = {family(block) for each in spec.policies if each.snat for block in each.ip_blocks}
    for name, items, pool, versions in (
        ("internalIPs", spec.internal_ips, spec.internal_ip_pool, inside),
        ("externalIPs", spec.external_ips, spec.external_ip_pool, outside),
    ):
        for place, text in enumerate(items):
            path = f"spec.{name}[{place}]"
            if not _are_addresses(text):
                remedy = "give one address, or an IPv4 and an IPv6 one with a comma between"
                yield Fault(path, text, "is no address", remedy)
            elif missing := versions - set(map(family, text.split(","))):
                (version, *_) = sorted(missing)
                problem = f"has no IPv{version} address, and a policy has IPv{version} sources"
                yield Fault(path, text, problem, "write both, with a comma between")
        if items and len(items) < spec.replicas:
            remedy = f"list {spec.replicas} or more, or lower spec.replicas"
            problem = f"are too few for {spec.replicas} replicas"
            yield Fault(f"spec.{name}", f"{len(items)}", problem, remedy)
        if items and pool:
            field = name.replace("IPs", "IPPool")
            yield Fault(f"spec.{field}", pool, f"is given beside {name}", "give one of both")


def _rate_faults(spec: GatewaySpec) -> Iterator[Fault]:
    for name, quantity in (
        ("ingress", spec.bandwidth.ingress),
        ("egress", spec.bandwidth.egress),
    ):
        path = f"spec.bandwidth.{name}"
        try:
            rate = mbit(quantity)
        except ValueError:
            remedy = "give whole Mbit/s, or bit/s with M, Mi, G or Gi"
            yield Fault(path, str(quantity), "is no bandwidth", remedy)
        else:
            if rate > _MOST_MBIT:
                remedy = f"give at most {_MOST_MBIT} Mbit/s, or 0 for no limit"
                yield Fault(path, str(quantity), "is more than a rate can be", remedy)


def _foreign_faults(spec: GatewaySpec) -> Iterator[Fault]:
    for name, value in (("bgpConf", spec.bgp_conf), ("evpnConf", spec.evpn_conf)):
        if value:
            remedy = "leave this gateway to Kube-OVN's own controller and image"
            yield Fault(f"spec.{name}", value, "asks for what vegd does not do", remedy)


def _network_faults(path: str, text: str) -> Iterator[Fault]:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        yield Fault(path, text, "is no network", "give an address or ADDRESS/LENGTH")
        return
    if "/" in text and ip_address(text.partition("/")[0]) != network.network_address:
        yield Fault(path, text, "has bits behind its length", f"write {network}")


def _are_addresses(text: str) -> bool:
    try:
        versions = [ip_address(part).version for part in text.split(",")]
    except ValueError:
        return False
    return len(versions) == len(set(versions))
