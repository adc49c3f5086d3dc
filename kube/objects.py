"""Which objects of the API server are meant, and what comes back of them. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

Object = dict[str, Any]
"""An object as the API server gives it, without further types."""

T = TypeVar("T")


class Resource(NamedTuple):
    """A kind of object, as the paths of the API server and the objects themselves name it."""

    group: str
    """Empty for the core group."""
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """What the objects say in ``apiVersion``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Where it is served: of all namespaces if none is given, as a whole without a name."""
        parts = ["", "apis", self.group] if self.group else ["", "api"]
        parts.append(self.version)
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        return "/".join(
            [*parts, *([name] if name else []), *([subresource] if subresource else [])]
        )


PODS = Resource("", "v1", "pods", "Pod")
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
REPLICA_SETS = Resource("apps", "v1", "replicasets", "ReplicaSet")
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
DISRUPTION_BUDGETS = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")


@dataclass(frozen=True, slots=True)
class Query:
    """Objects of one kind, all of them or some."""

    resource: Resource
    namespace: str = ""
    labels: str = ""
    """A label selector, such as ``app=web``."""
    fields: str = ""
    """A field selector, such as ``spec.nodeName=n1``."""

    @property
    def path(self) -> str:
        """Where they are served."""
        return self.resource.path(self.namespace)

    @property
    def parameters(self) -> dict[str, str]:
        """Of the request."""
        given = {"labelSelector": self.labels, "fieldSelector": self.fields}
        return {name: value for name, value in given.items() if value}


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """What an informer looks at in every object."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


class Item(NamedTuple, Generic[T]):
    """An object as the caller wanted it, with the metadata that everything has."""

    metadata: Metadata
    value: T

    @property
    def key(self) -> str:
        """``NAMESPACE/NAME``, or the name alone for what is in no namespace."""
        return "/".join(filter(None, (self.metadata.namespace, self.metadata.name)))


class Unfit(NamedTuple):
    """An object that does not have the shape that the caller wanted."""

    metadata: Metadata
    why: str


class Listing(NamedTuple, Generic[T]):
    """All that match, at one moment."""

    items: Sequence[Item[T]]
    resource_version: str
    unfit: Sequence[Unfit] = ()


class Happened(StrEnum):
    """What a watch tells."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


class Notice(NamedTuple, Generic[T]):
    """One line of a watch. A bookmark has metadata only, `item.value` is None then; so has an
    object that is unfit, and `why` says in which way."""

    happened: Happened
    item: Item[T | None]
    why: str = ""
