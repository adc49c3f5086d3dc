"""The specification from the environment that Kube-OVN gives the containers of a gateway pod. Pure.

Kube-OVN names next hops and sources, never interfaces, and there are two generations of names.
Since 1.14.0 everything is SNATed but ``NO_SNAT_SOURCES_IPVn``; a family whose external gateway is
empty has no way out. Builds before it list what is SNATed, ``SNAT_SOURCES_IPVn``, and what lies
behind the VPC's router, ``INTERNAL_ROUTE_DST_IPVn``; there the way out is the main table's default
route. Links and addresses are those that the CNI has made; none of them is managed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, NamedTuple

from vegd.document import Refusal
from vegd.facts import NodeFacts
from vegd.faults import Fault, shown
from vegd.side_checks import family, is_link_local, subnets
from vegd.spec import GatewaySpec, SpecError
from vegd.texts import Address, Network, read_address, read_network

_FAMILIES = (4, 6)
_EVERYTHING = {4: "0.0.0.0/0", 6: "::/0"}
_OVN_TTL = 254
"""OVN sends BFD with 255, and the VPC's router takes one away before the pod's subnet."""


@dataclass(frozen=True, slots=True)
class Routing:
    """A gateway whose sources BGP announces: packets pass as they are, by the routes that stand."""

    interface: str
    """The one towards the VPC."""
    versions: tuple[int, ...]
    """The families of the VPC."""


class _Hop(NamedTuple):
    """A next hop, and the name of where it was read."""

    address: Address
    name: str


_Named = tuple[str, str]
"""A value as text, and the variable it was read from."""


class Gateway(NamedTuple):
    """A gateway that is to be made."""

    spec: GatewaySpec
    document: dict[str, Any]
    """The same as a configuration file has it."""


def read(environ: Mapping[str, str], facts: NodeFacts) -> Gateway | Routing:
    """What the environment asks for on this machine. Raises SpecError with every fault, each under
    the name of its variable."""
    return _Reader(environ, facts).read()


class _Reader:
    def __init__(self, environ: Mapping[str, str], facts: NodeFacts) -> None:
        self._environ = environ
        self._facts = facts
        self._faults: list[Fault] = []
        self._origins: dict[str, str] = {}
        """For paths of the document: the variable that the value was read from."""

    def read(self) -> Gateway | Routing:
        if self._text("ENABLE_EVPN") == "true":
            remedy = "remove evpnConf from the gateway, or leave it to Kube-OVN's own image"
            self._refuse("ENABLE_EVPN", "asks for EVPN, which vegd does not do", remedy)
        inside = self._hops("INTERNAL")
        if not inside and not self._faults:
            remedy = "give the internal subnet a gateway"
            name = "INTERNAL_GATEWAY_IPV4"
            self._refuse(name, "is missing, and INTERNAL_GATEWAY_IPV6 too", remedy)
        if self._text("ENABLE_BGP") == "true":
            interface = self._interface(inside)
            self._give_up_if_faulty()
            return Routing(interface, tuple(inside))
        ways_out = self._hops("EXTERNAL") or (self._default_hops() if self._is_old() else {})
        self._give_up_if_faulty()
        # Of a family that the VPC does not have nothing comes.
        outside = {version: hop for version, hop in ways_out.items() if version in inside}
        if not outside:
            name = f"EXTERNAL_GATEWAY_IPV{min(inside)}"
            problem = "is missing, and no other family has a gateway on both sides"
            self._refuse(name, problem, "give the external subnet a gateway of that family")
            self._give_up_if_faulty()
        internal, external = self._interface(inside), self._interface(outside)
        if internal == external and not self._faults:
            hop, other = next(iter(outside.values())), next(iter(inside.values()))
            problem = f"is reached through {external}, as {other.name} is"
            self._complain(hop, problem, "use an external subnet other than the internal one")
        document: dict[str, Any] = {
            "internal": self._side("internal", internal, inside),
            "external": self._side("external", external, outside),
            "policies": self._old_policies(internal) if self._is_old() else self._policies(inside),
            **self._bfd(),
        }
        self._give_up_if_faulty()
        try:
            return Gateway(GatewaySpec.parse(document), document)
        except SpecError as exc:
            raise SpecError(map(self._renamed, exc.faults)) from None

    # Texts.

    def _text(self, name: str) -> str:
        return self._environ.get(name, "").strip()

    def _refuse(self, name: str, problem: str, remedy: str, value: str | None = None) -> None:
        text = self._text(name) if value is None else value
        self._faults.append(Fault(name, shown(text) if text else "", problem, remedy))

    def _complain(self, hop: _Hop, problem: str, remedy: str) -> None:
        self._refuse(hop.name, problem, remedy, str(hop.address))

    def _give_up_if_faulty(self) -> None:
        if self._faults:
            raise SpecError(self._faults)

    def _renamed(self, fault: Fault) -> Fault:
        name = self._origins.get(fault.path, fault.path)
        return Fault(name, fault.value, fault.problem, fault.remedy)

    def _list(self, name: str) -> list[str]:
        return [part.strip() for part in self._text(name).split(",") if part.strip()]

    def _address(self, name: str, text: str) -> Address | None:
        address = read_address(text)
        if isinstance(address, Refusal):
            # Only YAML needs quotes.
            remedy = address.remedy.removesuffix(" (in quotes)")
            self._refuse(name, address.problem, remedy, text)
            return None
        return address

    def _networks(self, prefix: str) -> dict[Network, str]:
        """Networks of both families, with their variables. Bits behind the length count for
        nothing, as in iptables, and what is listed twice counts once."""
        found: dict[Network, str] = {}
        for version in _FAMILIES:
            name = f"{prefix}_IPV{version}"
            for text in self._list(name):
                network = read_network(_without_host_bits(text))
                if isinstance(network, Refusal):
                    self._refuse(name, network.problem, network.remedy, text)
                elif network.version != version:
                    problem = f"is an {family(network.version)} network"
                    self._refuse(name, problem, f"list {family(version)} networks there", text)
                else:
                    found.setdefault(network, name)
        return found

    def _listed(self, path: str, values: Iterable[_Named]) -> list[str]:
        """A list of the document, of which each value's origin is remembered."""
        texts = []
        for place, (text, name) in enumerate(values):
            texts.append(text)
            self._origins[f"{path}[{place}]"] = name
        return texts

    # Next hops and interfaces.

    def _hops(self, side: str) -> dict[int, _Hop]:
        found: dict[int, _Hop] = {}
        for version in _FAMILIES:
            name = f"{side}_GATEWAY_IPV{version}"
            text = self._text(name)
            address = self._address(name, text) if text else None
            if address is None:
                continue
            if address.version != version:
                problem = f"is an {family(address.version)} address"
                self._refuse(name, problem, f"give the {family(version)} gateway of the subnet")
            else:
                found[version] = _Hop(address, name)
        return found

    def _default_hops(self) -> dict[int, _Hop]:
        """The preferred of each family; a link-local one does not tell whose link it is on."""
        found: dict[int, _Hop] = {}
        for each in self._facts.default_gateways:
            if not is_link_local(each):
                hop = _Hop(each, f"the {family(each.version)} default route")
                found.setdefault(each.version, hop)
        return found

    def _interface(self, hops: Mapping[int, _Hop]) -> str:
        """The interface on whose link the next hops are; "" with a fault if there is none."""
        found: dict[str, _Hop] = {}
        for hop in hops.values():
            name = self._interface_to(hop.address)
            if name is None:
                problem = f"is in no subnet of an interface ({self._addresses_text()})"
                remedy = "attach the pod to the subnet of that gateway"
                self._complain(hop, problem, remedy)
            else:
                found.setdefault(name, hop)
        if len(found) > 1:
            (name, hop), (other_name, other) = list(found.items())[:2]
            problem = f"is reached through {other_name}, and {hop.name} through {name}"
            self._complain(other, problem, "take both families from one subnet")
        return next(iter(found), "")

    def _interface_to(self, address: Address) -> str | None:
        """Of the interfaces with a subnet that holds the address, that with the longest prefix."""
        lengths = [
            (own.network.prefixlen, interface.name)
            for interface in self._facts.interfaces.values()
            for own in interface.addresses
            if interface.name != "lo" and address in own.network and not is_link_local(own.ip)
        ]
        return max(lengths)[1] if lengths else None

    def _addresses_text(self) -> str:
        texts = [
            f"{interface.name} {own}"
            for interface in self._facts.interfaces.values()
            for own in interface.addresses
            if interface.name != "lo" and not is_link_local(own.ip)
        ]
        return ", ".join(texts) or "none has an address"

    def _side(self, path: str, interface: str, hops: Mapping[int, _Hop]) -> dict[str, Any]:
        gateways = [(str(hop.address), hop.name) for hop in hops.values()]
        return {"interface": interface, "gateways": self._listed(f"{path}.gateways", gateways)}

    # Policies.

    def _is_old(self) -> bool:
        """Whether the positive list of builds before 1.14.0 is given."""
        names = (f"{name}_IPV{n}" for name in _OLD for n in _FAMILIES)
        return any(name in self._environ for name in names)

    def _policies(self, inside: Iterable[int]) -> list[dict[str, Any]]:
        """Everything with SNAT, but what is listed. That is not SNATed as a destination either;
        as it lies inside the VPC, nothing is sent out to it at all."""
        direct = self._networks("NO_SNAT_SOURCES")
        everything = {"name": "snat", "snat": True, "ipBlocks": [_EVERYTHING[n] for n in inside]}
        if not direct:
            return [everything]
        named = [(str(network), name) for network, name in direct.items()]
        path = "policies[1].excludedDestinationCIDRs"
        return [
            {"name": "no-snat", "ipBlocks": self._listed("policies[0].ipBlocks", named)},
            {**everything, "excludedDestinationCIDRs": self._listed(path, named)},
        ]

    def _old_policies(self, internal: str) -> list[dict[str, Any]]:
        """What is listed with SNAT, whatever else is of the VPC without: networks that are routed
        to its router, and those of the internal interface, which need no route."""
        for name in (f"NO_SNAT_SOURCES_IPV{version}" for version in _FAMILIES):
            if self._text(name):
                problem = "is given beside the older SNAT_SOURCES or INTERNAL_ROUTE_DST"
                self._refuse(name, problem, "give the variables of one version of Kube-OVN")
        snat = self._networks("SNAT_SOURCES")
        behind = self._networks("INTERNAL_ROUTE_DST")
        if internal:
            for network in subnets(self._facts.interfaces[internal].addresses):
                behind.setdefault(network, "INTERNAL_ROUTE_DST")
        direct = [
            (str(network), name)
            for network, name in behind.items()
            if not network.is_link_local and not any(_is_within(network, each) for each in snat)
        ]
        translated = [(str(network), name) for network, name in snat.items()]
        listed = [("snat", True, translated), ("no-snat", False, direct)]
        return [
            {
                "name": name,
                "snat": with_snat,
                "ipBlocks": self._listed(f"policies[{place}].ipBlocks", networks),
            }
            for place, (name, with_snat, networks) in enumerate(each for each in listed if each[2])
        ]

    # BFD.

    def _bfd(self) -> dict[str, Any]:
        """A session for every pair of the pod's and the peers' addresses of one family."""
        peers = self._addresses("BFD_PEER_IPS")
        if not peers:
            return {}
        own = self._addresses("POD_IPS")
        pairs = [(a, b) for a in own for b in peers if a.version == b.version]
        if not pairs:
            problem = "has no address of the family of a peer in BFD_PEER_IPS"
            remedy = "give the VPC's BFD port an address of a family of the internal subnet"
            self._refuse("POD_IPS", problem, remedy)
        for place in range(len(pairs)):
            path = f"bfd.peers[{place}]"
            self._origins |= {f"{path}.local": "POD_IPS", f"{path}.address": "BFD_PEER_IPS"}
        document: dict[str, Any] = {
            "minTTL": _OVN_TTL,
            "peers": [{"local": str(a), "address": str(b)} for a, b in pairs],
        }
        for field, name in _TIMERS.items():
            text = self._text(name)
            self._origins[f"bfd.{field}"] = name
            if text.isascii() and text.isdecimal() and len(text) < 20:
                document[field] = int(text)
            elif text:
                self._refuse(name, "is no whole number", "give one without a unit")
        return {"bfd": document}

    def _addresses(self, name: str) -> list[Address]:
        found = (self._address(name, text) for text in self._list(name))
        return list(dict.fromkeys(each for each in found if each is not None))


_OLD = ("SNAT_SOURCES", "INTERNAL_ROUTE_DST")
_TIMERS = {"minTX": "BFD_MIN_TX", "minRX": "BFD_MIN_RX", "multiplier": "BFD_MULTI"}


def _without_host_bits(text: str) -> str:
    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        return text


def _is_within(network: Network, other: Network) -> bool:
    return network.version == other.version and network.subnet_of(other)  # type: ignore[arg-type]
