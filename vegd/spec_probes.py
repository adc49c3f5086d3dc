"""The section ``probes`` of the specification: is the world behind the gateway within reach?"""

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from vegd.document import Hint, Refusal, Text
from vegd.faults import Fault
from vegd.texts import Address, Listen, read_address, read_listen

if TYPE_CHECKING:
    from vegd.document import Draft
    from vegd.spec import GatewaySpec

_Millis = Annotated[int, Meta(ge=50, le=60_000), Hint("give 50 to 60000 (milliseconds)")]
_Times = Annotated[int, Meta(ge=1, le=100), Hint("give 1 to 100 (probes in a row)")]
_WITH_PORT = ("tcp", "http", "https")
_PORTS = {"http": 80, "https": 443}


def read_path(text: str) -> str | Refusal:
    """The path of a URL."""
    if text.startswith("/") and text.isascii() and text.isprintable() and " " not in text:
        return text
    return Refusal("is not the path of a URL", "write it with a slash first, for example /healthz")


def read_host(text: str) -> str | Refusal:
    """A host's name, as it stands in a URL."""
    if text and len(text) < 254 and all(c.isalnum() or c in "-." for c in text) and text.isascii():
        return text
    return Refusal("is not the name of a host", "write it as in a URL, for example example.com")


def read_sibling(text: str) -> Listen | Refusal:
    """HOST:PORT of another gateway."""
    place = read_listen(text)
    if isinstance(place, Listen) and not place.host:
        return Refusal("names no host", "write HOST:PORT, for example 192.168.0.3:10669")
    return place


class Target(Struct, frozen=True, kw_only=True):
    """Something outside that is asked, from the external address of its family."""

    kind: Annotated[Literal["icmp", "tcp", "http", "https"], Hint("write icmp, tcp, http or https")]
    address: Annotated[Address, Text(read_address), Hint("write the address of the target")]
    port: (
        Annotated[int, Meta(ge=1, le=65_535), Hint("give 1 to 65535, for tcp, http and https")]
        | None
    ) = None
    path: Annotated[str, Text(read_path), Hint("write it as a text")] = "/"
    host: Annotated[str, Text(read_host), Hint("write it as a text")] | None = None

    @property
    def port_used(self) -> int:
        """The port; that of the protocol where none is given."""
        return _PORTS.get(self.kind, 0) if self.port is None else self.port

    def __str__(self) -> str:
        if self.kind == "icmp":
            return f"icmp {self.address}"
        place = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{self.kind} {place}:{self.port_used}"


class Probes(Struct, frozen=True, kw_only=True, rename="camel"):
    """What is asked, how often, and what follows; intervals in ms, `hold_down` in seconds."""

    neighbours: Annotated[bool, Hint("write true or false")] = True
    targets: Annotated[
        tuple[Target, ...], Hint("list targets, for example [{kind: icmp, address: 192.0.2.1}]")
    ] = ()
    interval: _Millis = 1000
    timeout: _Millis = 1000
    failures: _Times = 3
    successes: _Times = 3
    hold_down: Annotated[int, Meta(ge=0, le=3600), Hint("give 0 to 3600 (seconds)")] = 10
    siblings: Annotated[
        tuple[Annotated[Listen, Text(read_sibling), Hint("write HOST:PORT")], ...],
        Hint("list metrics.listen of the other gateways, for example [192.168.0.3:10669]"),
    ] = ()
    floor: Annotated[int, Meta(ge=1, le=64), Hint("give 1 to 64 (gateways)")] = 1


def check_probes(draft: "Draft[GatewaySpec]") -> None:
    """Add the faults that show only when fields are seen together."""
    probes = draft.value.probes
    if probes is None or not draft.is_sound("probes"):
        return
    hops = {gateway.version for gateway in draft.value.external.gateways}
    can_judge = draft.is_whole("external", "gateways")
    for path, target in draft.entries(("probes", "targets"), probes.targets):
        if not draft.is_whole(*path):
            continue
        if target.kind == "tcp" and target.port is None:
            draft.complain_of_field((*path, "port"), "is missing", "give the port to connect to")
        if target.kind == "icmp" and target.port is not None:
            problem = "means nothing to icmp"
            draft.object_to((*path, "port"), target.port, problem, "remove the line")
        if can_judge and target.address.version not in hops:
            problem = f"is IPv{target.address.version}, of which there is no external gateway"
            remedy = "add one to external.gateways, or remove the target"
            draft.object_to((*path, "address"), target.address, problem, remedy)
    whole = draft.is_whole("probes")
    if whole and not probes.neighbours and not probes.targets:
        remedy = "list targets, or remove probes"
        draft.complain_of_field(("probes", "targets"), "is empty, so nothing is probed", remedy)
    if whole and probes.siblings and probes.floor > len(probes.siblings):
        problem = f"is more than there are siblings ({len(probes.siblings)})"
        draft.object_to(("probes", "floor"), probes.floor, problem, "list more of them")


def probe_warnings(probes: Probes | None) -> list[Fault]:
    """What is allowed and yet probably not meant."""
    if probes is None or probes.siblings:
        return []
    problem = "are none, so that an outage that all gateways share takes all of them out of use"
    remedy = "list metrics.listen of the other gateways"
    return [Fault("probes.siblings", "", problem, remedy)]
