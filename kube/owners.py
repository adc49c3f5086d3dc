"""Whose a row is: the marks in its `external_ids`.

A row of OVN's northbound database that lacks our mark is somebody else's, whatever it is called.
Kube-OVN's own controller marks its gateways' rows with the vendor `kube-ovn`; in its place we use
the same mark, beside it one of our own, and other names for what has to be unique.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from kube.rows import HaGroup, Map, Ref, RouterPort, Row, Switch, SwitchPort, as_map

GATEWAY_ID = "vpc-egress-gateway"
VENDOR_ID = "vendor"
LENT = as_map({"vegd-slot": "lent"})
"""Of the route of a slot that its next hop has only for a while (`kube.slots`)."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A vendor, and how the names of its address sets and port groups begin."""

    vendor: str
    prefix: str


KUBE_OVN = Mark("kube-ovn", "VEG")
"""In place of Kube-OVN's controller."""
VEGD = Mark("vegd", "VEGD")
"""Beside it."""


@dataclass(frozen=True, slots=True)
class GatewayOwner:
    """A gateway as the owner of rows."""

    mark: Mark
    namespace: str
    name: str

    @property
    def key(self) -> str:
        """Namespace and name, as in the mark."""
        return f"{self.namespace}/{self.name}"

    @property
    def group(self) -> str:
        """The name of the port group; the address sets' names begin with it.

        Of the name a hash is taken, because OVN allows no hyphen in what a match names.
        """
        return f"{self.mark.prefix}.{sha256(self.key.encode()).hexdigest()[:12]}"

    def ids(self, version: int | None = None) -> Map:
        """The mark, with the IP version where a row belongs to one."""
        pairs = {VENDOR_ID: self.mark.vendor, GATEWAY_ID: self.key}
        return as_map(pairs if version is None else pairs | {"af": str(version)})

    def owns(self, row: Row) -> bool:
        """Whether a row has the mark."""
        return self.ids() <= row.external_ids

    def names(self) -> frozenset[Ref]:
        """Rows to look at besides those with the mark: none."""
        return frozenset()


@dataclass(frozen=True, slots=True)
class PortOwner:
    """The BFD port of a VPC as the owner of rows.

    Kube-OVN marks all ports of a router alike, so that the mark alone says too little; what is ours
    of them is known by its name as well.
    """

    mark: Mark
    vpc: str

    @property
    def port(self) -> str:
        """The router port; the chassis group is called like it."""
        return f"bfd@{self.vpc}"

    @property
    def stub(self) -> str:
        """The switch that stock OVN wants behind the port."""
        return f"stub-{self.port}"

    def ids(self, pairs: Mapping[str, str]) -> Map:
        """The mark, with what else identifies a row."""
        return as_map({VENDOR_ID: self.mark.vendor, **pairs})

    def owns(self, row: Row) -> bool:
        """Whether a row has one of the names, and the vendor's mark; a switch's port has none."""
        is_marked = (VENDOR_ID, self.mark.vendor) in row.external_ids
        return row.ref in self.names() and (is_marked or isinstance(row, SwitchPort))

    def names(self) -> frozenset[Ref]:
        """The rows there can be."""
        tables = {RouterPort.TABLE: self.port, HaGroup.TABLE: self.port}
        stubs = {Switch.TABLE: self.stub, SwitchPort.TABLE: self.stub}
        return frozenset(Ref(table, (name,)) for table, name in (tables | stubs).items())


Owner = GatewayOwner | PortOwner
