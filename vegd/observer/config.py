"""The observer's configuration, as Kube-OVN's controller writes it: JSON, and every fault of it.

Fields that are not the observer's, such as `resources`, are passed over, and so is what a later
controller may add beside them. Under `conntrack` an unknown field is a fault: a filter that is only
half understood would tell what it was to hide.
"""

import json
from collections.abc import Sequence
from ipaddress import ip_interface
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from vegd.document import Draft, Hint, Refusal, Text, decode
from vegd.faults import Fault, Path
from vegd.texts import Network

_MOST_RULES = 64
"""Also the most networks, and the most ranges of ports, in one field of a rule."""


def _read_cidr(text: str) -> Network | Refusal:
    """ADDRESS/LENGTH; bits behind the length do not matter, as in Kube-OVN's observer."""
    length = text.partition("/")[2]
    try:
        if length.isascii() and length.isdecimal():
            return ip_interface(text).network
    except ValueError:
        pass
    return Refusal(
        "is not a network", "write ADDRESS/LENGTH, for example 10.16.0.0/16 or fd00::/64"
    )


_Cidrs = Annotated[
    tuple[Annotated[Network, Text(_read_cidr), Hint("write a network")], ...],
    Hint("write a list of networks, as ADDRESS/LENGTH"),
]
_Port = Annotated[int, Meta(ge=0, le=65_535), Hint("write a port from 0 to 65535")]
_Switch = Annotated[bool, Hint("write true or false")]


class PortRange(msgspec.Struct, frozen=True):
    """Ports from `start` to `end`, both included."""

    start: _Port
    end: _Port


_Ranges = Annotated[tuple[PortRange, ...], Hint("write a list of ranges with start and end")]


class Match(msgspec.Struct, frozen=True, rename="camel"):
    """Between whom; a field without entries asks for nothing."""

    source_cidrs: _Cidrs = msgspec.field(default=(), name="sourceCIDRs")
    destination_cidrs: _Cidrs = msgspec.field(default=(), name="destinationCIDRs")
    source_ports: _Ranges = ()
    destination_ports: _Ranges = ()


_Family = Annotated[Literal["ipv4", "ipv6"], Hint("write ipv4 or ipv6")]
_Protocol = Annotated[
    Literal["tcp", "udp", "sctp", "icmp", "icmpv6", "other"],
    Hint("write tcp, udp, sctp, icmp, icmpv6 or other"),
]
_NatType = Annotated[Literal["snat", "dnat", "snat_dnat"], Hint("write snat, dnat or snat_dnat")]
_Event = Annotated[Literal["start", "end"], Hint("write start or end")]


class Rule(msgspec.Struct, frozen=True, rename="camel"):
    """Fits what fits every field of it; a field is fitted by any of its entries."""

    address_families: Annotated[tuple[_Family, ...], Hint("write a list of families")] = ()
    protocols: Annotated[tuple[_Protocol, ...], Hint("write a list of protocols")] = ()
    nat_types: Annotated[tuple[_NatType, ...], Hint("write a list of kinds of NAT")] = ()
    original: Match = Match()
    translated: Match = Match()


_Rules = Annotated[tuple[Rule, ...], Hint("write a list of rules")]


class Filters(msgspec.Struct, frozen=True):
    """What is logged: what fits a rule of `include`, or all if there is none, less `exclude`."""

    include: _Rules = ()
    exclude: _Rules = ()


class RateLimit(msgspec.Struct, frozen=True, rename="camel"):
    """How many records at most."""

    records_per_second: Annotated[
        int, Meta(ge=1, le=100_000), Hint("write a number from 1 to 100000")
    ] = 100
    burst: Annotated[int, Meta(ge=1, le=1_000_000), Hint("write a number from 1 to 1000000")] = 1000


class Log(msgspec.Struct, frozen=True, rename="camel"):
    """Flow logs."""

    enabled: _Switch = False
    events: Annotated[tuple[_Event, ...], Hint("write a list of start and end")] = ()
    """Both, if there is none."""
    filters: Filters = Filters()
    rate_limit: RateLimit = RateLimit()


class Feature(msgspec.Struct, frozen=True):
    """Something to be switched on."""

    enabled: _Switch = False


class Conntrack(msgspec.Struct, frozen=True):
    """What is told of connections."""

    metrics: Feature = Feature()
    log: Log = Log()


class Observability(msgspec.Struct, frozen=True, rename="camel"):
    """What is to be told at all."""

    interface_metrics: Feature = Feature()
    conntrack: Conntrack = Conntrack()


def _read_name(text: str) -> str | Refusal:
    return text or Refusal("is empty", "write the name of the gateway, its namespace or network")


class Config(msgspec.Struct, frozen=True, rename="camel"):
    """The whole file."""

    namespace: Annotated[str, Text(_read_name), Hint("write the namespace of the gateway")]
    name: Annotated[str, Text(_read_name), Hint("write the name of the gateway")]
    external_network: Annotated[
        str,
        Text(_read_name),
        Hint("write the network outside as NAMESPACE/NAME of its attachment definition"),
    ]
    observability: Observability = Observability()

    @property
    def tracks(self) -> bool:
        """Whether connections are watched."""
        conntrack = self.observability.conntrack
        return conntrack.metrics.enabled or conntrack.log.enabled


def parse(data: bytes) -> Config | tuple[Fault, ...]:
    """The configuration in a file, or what is wrong with it."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as exc:
        return (Fault("", "", f"the file is not JSON ({exc})", "write a JSON object"),)
    draft = decode(Config, _ours(document))
    if not draft.faults:
        _check(draft)
    return tuple(draft.faults) or draft.value


def _ours(document: object) -> object:
    """Without members that are null, and without those that are not for the observer."""
    document = _without_nulls(document)
    if isinstance(document, dict):
        document = _only(document, Config)
        if isinstance(inner := document.get("observability"), dict):
            document["observability"] = _only(inner, Observability)
    return document


def _only(members: dict[str, Any], kind: type[msgspec.Struct]) -> dict[str, Any]:
    names = {field.encode_name for field in msgspec.structs.fields(kind)}
    return {name: value for name, value in members.items() if name in names}


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value]
    return value


def _check(draft: Draft[Config]) -> None:
    log: Path = ("observability", "conntrack", "log")
    filters = draft.value.observability.conntrack.log.filters
    for kind in ("include", "exclude"):
        rules: tuple[Rule, ...] = getattr(filters, kind)
        _check_length(draft, (*log, "filters", kind), rules)
        for place, rule in enumerate(rules):
            for side in ("original", "translated"):
                _check_match(draft, (*log, "filters", kind, place, side), getattr(rule, side))


def _check_match(draft: Draft[Config], path: Path, match: Match) -> None:
    for field in msgspec.structs.fields(Match):
        entries = getattr(match, field.name)
        there = (*path, field.encode_name)
        _check_length(draft, there, entries)
        for place, entry in enumerate(entries):
            if isinstance(entry, PortRange) and entry.start > entry.end:
                draft.complain(
                    (*there, place, "end"),
                    entry.end,
                    f"is less than start, {entry.start}",
                    "write the lower port as start",
                )


def _check_length(draft: Draft[Config], path: Path, entries: Sequence[object]) -> None:
    if len(entries) > _MOST_RULES:
        draft.complain(
            path, entries, f"of {len(entries)} is too long", f"write {_MOST_RULES} at most"
        )
