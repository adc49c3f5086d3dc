"""A specification and the facts of the machine, compiled to what has to be done. Pure.

The result is an `Intent` for the dataplane and the BFD engine, or `Waiting` with every reason at
once when something is missing that others bring: an interface of the CNI, an address on it. What
the specification says is checked already (`vegd.spec`); here come the checks that need facts,
because a side may leave its addresses to whoever made the interface. They heal by themselves, so
they are reasons to wait and not faults. A family that cannot be forwarded while the other one can
is a note: half a gateway is better than none, as long as somebody is told.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bfd.auth import AuthConfig, AuthKey, Transition
from bfd.dampening import Dampening
from bfd.session import SessionConfig, SessionKey
from bfd.unsolicited import Invitation
from dataplane import model, tracking
from vegd.facts import NodeFacts
from vegd.side_checks import family, is_link_local, names_its_subnet, subnets
from vegd.spec import Auth, Bfd, Conntrack, ExternalSide, GatewaySpec, Peer, Policy, Side, Snat
from vegd.texts import Address, InterfaceAddress

_FAMILIES = (4, 6)


@dataclass(frozen=True, slots=True)
class Intent:
    """What the dataplane and the engine are to do; `notes` are for the status."""

    dataplane: model.GatewayIntent
    sessions: tuple[SessionConfig, ...]
    invitations: tuple[Invitation, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why nothing can be done yet: at least one sentence."""

    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _View:
    """A side with the addresses that count: the configured ones, else those it has."""

    name: str
    side: Side
    addresses: tuple[InterfaceAddress, ...]

    @property
    def manages_addresses(self) -> bool:
        return self.side.addresses is not None

    def has_address(self, version: int) -> bool:
        return any(one.version == version for one in self.addresses)

    def gateways(self) -> tuple[Address, ...]:
        """Those that can be reached: the kernel refuses a next hop of a family it has no way to."""
        return tuple(
            gateway
            for gateway in self.side.gateways
            if self.has_address(gateway.version) or is_link_local(gateway)
        )

    def lacks(self, version: int, *, needs_address: bool) -> str | None:
        """What of the family the side lacks to forward it, in words."""
        if needs_address and not self.has_address(version):
            return f"no {self.name} {family(version)} address on {self.side.interface}"
        if not any(gateway.version == version for gateway in self.gateways()):
            return f"no {self.name} {family(version)} gateway"
        return None


def compile(spec: GatewaySpec, facts: NodeFacts) -> Intent | Waiting:  # noqa: A001 - the design's word
    """What to do for this specification on this machine, or what has to come first."""
    reasons = _missing_interfaces(spec, facts)
    if reasons:
        return Waiting(tuple(reasons))
    internal = _view("internal", spec.internal, facts)
    external = _view("external", spec.external, facts)
    for view in (internal, external):
        if not view.manages_addresses:
            reasons += _address_reasons(view)
    reasons += _overlap_reasons(internal, external)
    if spec.bfd is not None:
        reasons += _peer_reasons(spec.bfd, internal, facts)
    if reasons:
        return Waiting(tuple(reasons))
    parameters, refused = tracking.parameters(_tracking(spec.conntrack), facts.tracking)
    invitations = _invitations(spec.bfd, (internal, external), facts)
    return Intent(
        dataplane=model.GatewayIntent(
            internal=_compile_side(internal),
            external=_compile_side(external),
            policies=tuple(_compile_policy(policy) for policy in spec.policies),
            bfd_peers=tuple(
                dict.fromkeys(peer.address for peer in _peers(spec) if peer.interface is None)
            ),
            translation=_translation(spec.external.snat),
            clamp_mss=spec.mss_clamp,
            input_protection=_protection(spec),
            bandwidth=model.Bandwidth(
                to_vpc=spec.bandwidth.ingress * 1_000_000,
                to_outside=spec.bandwidth.egress * 1_000_000,
            ),
            parameters=parameters,
        ),
        sessions=() if spec.bfd is None else _sessions(spec.bfd, internal, facts),
        invitations=tuple(each for each in invitations if isinstance(each, Invitation)),
        notes=_notes(spec, internal, external)
        + _absences(spec, internal, facts)
        + refused
        + tuple(each for each in invitations if isinstance(each, str)),
    )


def _compile_policy(policy: Policy) -> model.Policy:
    return model.Policy(
        name=policy.name,
        snat=policy.snat,
        sources=policy.ip_blocks,
        destinations=policy.destinations or (),
        excluded_destinations=policy.excluded_destinations or (),
        translation=None if policy.snat_to is None else _translation(policy.snat_to),
    )


def _translation(snat: Snat) -> model.Translation:
    return model.Translation(snat.addresses, snat.ports)


def _tracking(wish: Conntrack) -> tracking.Tracking:
    return tracking.Tracking(
        maximum=wish.max,
        accounting=wish.accounting,
        tcp_established_s=wish.tcp_established,
        udp_s=wish.udp,
        udp_stream_s=wish.udp_stream,
    )


def _protection(spec: GatewaySpec) -> model.InputProtection | None:
    if not spec.input.protect:
        return None
    tcp_ports = {*spec.input.tcp_ports, spec.metrics.listen.port}
    return model.InputProtection(tuple(sorted(tcp_ports)), spec.input.udp_ports)


def _missing_interfaces(spec: GatewaySpec, facts: NodeFacts) -> list[str]:
    """Only what vegd does not create itself is waited for."""
    there = facts.interfaces
    reasons = []
    if spec.internal.interface not in there:
        reasons.append(f"interface {spec.internal.interface} does not exist yet")
    external, macvlan = spec.external, spec.external.macvlan
    if macvlan is None:
        if external.interface not in there:
            reasons.append(f"interface {external.interface} does not exist yet")
        return reasons
    if macvlan.parent not in there:
        reasons.append(
            f"the macvlan parent {macvlan.parent} of {external.interface} does not exist yet"
        )
    elif external.mtu is not None and external.mtu > there[macvlan.parent].mtu:
        most = there[macvlan.parent].mtu
        reasons.append(
            f"the MTU {external.mtu} of {external.interface} is more than "
            f"its macvlan parent {macvlan.parent} has ({most})"
        )
    existing = there.get(external.interface)
    if existing is not None and existing.kind != "macvlan":
        what = f" but a {existing.kind}" if existing.kind else ""
        reasons.append(
            f"interface {external.interface} exists and is no macvlan{what}; "
            "remove it, or leave external.macvlan out to use it as it is"
        )
    return reasons


def _view(name: str, side: Side, facts: NodeFacts) -> _View:
    addresses = side.addresses
    if addresses is None:
        # Link-local addresses are of no use to SNAT, and as little to a peer behind a router.
        addresses = tuple(
            one for one in facts.interfaces[side.interface].addresses if not is_link_local(one.ip)
        )
    return _View(name, side, addresses)


def _address_reasons(view: _View) -> list[str]:
    """The checks of addresses and gateways that had to wait for the facts."""
    name = view.side.interface
    if not view.addresses:
        return [f"interface {name} has no address yet"]
    networks = subnets(view.addresses)
    own = [one.ip for one in view.addresses]
    reasons = []
    for gateway in view.side.gateways:
        wrong = next(filter(None, (names_its_subnet(gateway, net) for net in networks)), None)
        if gateway in own:
            wrong = "is an address of the interface itself"
        if wrong is not None:
            reasons.append(f"the {view.name} gateway {gateway} {wrong}")
        elif gateway not in view.gateways() or is_link_local(gateway):
            continue
        elif not any(gateway in network for network in networks):
            listed = ", ".join(map(str, networks))
            reasons.append(f"no address of {name} reaches the gateway {gateway} yet ({listed})")
    return reasons


def _overlap_reasons(internal: _View, external: _View) -> list[str]:
    # Where the configuration gives both, it was checked.
    return [
        f"the subnets {inside} of {internal.side.interface} and {outside} of "
        f"{external.side.interface} overlap"
        for inside in subnets(internal.addresses)
        for outside in subnets(external.addresses)
        if inside.overlaps(outside)
    ]


def _peers(spec: GatewaySpec) -> Sequence[Peer]:
    return () if spec.bfd is None else spec.bfd.peers


def _peer_reasons(bfd: Bfd, internal: _View, facts: NodeFacts) -> list[str]:
    reasons = []
    name = internal.side.interface
    for peer in bfd.peers:
        if peer.interface is not None or _local(peer, internal, facts) is not None:
            continue
        family_text = f"{family(peer.address.version)} address"
        needed = family_text if peer.local is None else f"address {peer.local}"
        reasons.append(
            f"interface {name} has no {needed} yet, which the BFD peer {peer.address} needs"
        )
    return reasons


def _absences(spec: GatewaySpec, internal: _View, facts: NodeFacts) -> tuple[str, ...]:
    """For each peer bound to an interface that is not there, or lacks the address: that it waits.

    The other peers, and forwarding, do not wait for it.
    """
    notes = []
    for peer in _peers(spec):
        if peer.interface is None or _local(peer, internal, facts) is not None:
            continue
        if peer.interface not in facts.interfaces:
            lacking = "which does not exist yet"
        elif peer.local is not None:
            lacking = f"which has no address {peer.local} yet"
        else:
            kind = "link-local" if is_link_local(peer.address) else family(peer.address.version)
            lacking = f"which has no {kind} address yet"
        notes.append(f"the BFD peer {peer.address} waits for interface {peer.interface}, {lacking}")
    return tuple(notes)


def _local(peer: Peer, internal: _View, facts: NodeFacts) -> Address | None:
    """Our address of the session; None when it is not there."""
    own: Sequence[InterfaceAddress] = internal.addresses
    on_link = is_link_local(peer.address)
    if peer.interface is not None and (on_link or peer.interface != internal.side.interface):
        interface = facts.interfaces.get(peer.interface)
        own = () if interface is None else interface.addresses
    fitting = [
        one.ip
        for one in own
        if one.version == peer.address.version and is_link_local(one.ip) is on_link
    ]
    if peer.local is not None:
        return peer.local if peer.local in fitting else None
    return next(iter(fitting), None)


def _sessions(bfd: Bfd, internal: _View, facts: NodeFacts) -> tuple[SessionConfig, ...]:
    sessions = []
    for peer in bfd.peers:
        local = _local(peer, internal, facts)
        if local is None:
            continue
        timers = bfd.timers_of(peer)
        # Without an interface of its own a peer is behind the router (RFC 5881 §6 asks for one on
        # the link), so which one its packets come in by is a matter of routing.
        key = SessionKey(str(local), str(peer.address), peer.interface or "", peer.multihop)
        sessions.append(
            SessionConfig(
                key=key,
                desired_min_tx_us=timers.min_tx * 1000,
                required_min_rx_us=timers.min_rx * 1000,
                detect_mult=timers.multiplier,
                min_ttl=timers.min_ttl,
                passive=timers.passive,
                back_off=timers.back_off,
                dampening=_dampening(bfd),
                auth=_auth(bfd.auth_of(peer)),
            )
        )
    return tuple(sessions)


def _invitations(
    bfd: Bfd | None, views: Sequence[_View], facts: NodeFacts
) -> list[Invitation | str]:
    """An invitation for each interface, or a note that it waits."""
    found: list[Invitation | str] = []
    for each in () if bfd is None else bfd.unsolicited:
        name = each.interface
        addresses = next((v.addresses for v in views if v.side.interface == name), None)
        if addresses is None:
            there = facts.interfaces.get(name)
            addresses = () if there is None else there.addresses
        # RFC 9468 §6: from the subnets of the interface only.
        sources = each.sources or subnets(a for a in addresses if not is_link_local(a.ip))
        if name not in facts.interfaces:
            found.append(f"unsolicited BFD on {name} waits: the interface does not exist yet")
        elif not sources:
            found.append(f"unsolicited BFD on {name} waits: the interface has no address yet")
        else:
            assert bfd is not None  # noqa: S101 - there would be no entry
            found.append(
                Invitation(
                    interface=name,
                    sources=tuple(map(str, sources)),
                    most_sessions=each.sessions,
                    desired_min_tx_us=bfd.min_tx * 1000,
                    required_min_rx_us=bfd.min_rx * 1000,
                    detect_mult=bfd.multiplier,
                )
            )
    return found


def _dampening(bfd: Bfd) -> Dampening | None:
    policy = bfd.dampening
    if policy is None:
        return None
    return Dampening(
        flaps=policy.flaps,
        within_us=policy.within * 1_000_000,
        hold_us=policy.hold_for * 1_000_000,
        longest_hold_us=policy.hold_at_most * 1_000_000,
    )


def _auth(auth: Auth | None) -> AuthConfig | None:
    if auth is None:
        return None
    return AuthConfig(
        keys=tuple(AuthKey(key.id, key.kind, key.file) for key in auth.keys),
        send=auth.keys[0].id if auth.send is None else auth.send,
        transition=None if auth.transition is None else Transition(auth.transition),
    )


def _compile_side(view: _View) -> model.Side:
    side = view.side
    macvlan = side.macvlan if isinstance(side, ExternalSide) else None
    return model.Side(
        interface=side.interface,
        addresses=side.addresses or (),
        gateways=view.gateways(),
        mtu=side.mtu,
        mac=side.mac,
        macvlan=None if macvlan is None else model.Macvlan(macvlan.parent, macvlan.mode),
        found=() if view.manages_addresses else view.addresses,
    )


def _notes(spec: GatewaySpec, internal: _View, external: _View) -> tuple[str, ...]:
    """For each family that policies name and that cannot be forwarded: why."""
    notes = []
    for version in _FAMILIES:
        naming = [
            policy
            for policy in spec.policies
            if any(block.version == version for block in policy.ip_blocks)
        ]
        with_snat = any(policy.snat for policy in naming)
        lacking = internal.lacks(version, needs_address=True)
        lacking = lacking or external.lacks(version, needs_address=with_snat)
        if naming and lacking is not None:
            notes.append(f"{family(version)} is not forwarded: {lacking}")
    return tuple(notes)
