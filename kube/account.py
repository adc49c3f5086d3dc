"""Who the pods of a gateway are to the API server, and what they may do there. Pure.

Only the watcher in them has a use for it. Its rights are for two objects by their names: to read
the gateway's ConfigMap, and to report into the gateway's status.
"""

from __future__ import annotations

from kube.identity import Identity
from kube.workload import Json, Workload, metadata

_GROUP = "rbac.authorization.k8s.io"


def account(workload: Workload, identity: Identity) -> Json:
    """The ServiceAccount of the pods."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(workload, identity, identity.config_name(workload)),
        "automountServiceAccountToken": False,
    }


def role(workload: Workload, identity: Identity) -> Json:
    """All that the watcher may do. Whoever makes this must be allowed the same."""
    name = identity.config_name(workload)
    return {
        "apiVersion": f"{_GROUP}/v1",
        "kind": "Role",
        "metadata": metadata(workload, identity, name),
        "rules": [
            _rule("", "configmaps", name, "get", "list", "watch"),
            _rule(identity.group, "vpc-egress-gateways", workload.name, "get"),
            _rule(identity.group, "vpc-egress-gateways/status", workload.name, "patch"),
        ],
    }


def role_binding(workload: Workload, identity: Identity) -> Json:
    """The account has the role."""
    name = identity.config_name(workload)
    return {
        "apiVersion": f"{_GROUP}/v1",
        "kind": "RoleBinding",
        "metadata": metadata(workload, identity, name),
        "roleRef": {"apiGroup": _GROUP, "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": workload.namespace}],
    }


def _rule(group: str, resource: str, name: str, *verbs: str) -> Json:
    return {
        "apiGroups": [group],
        "resources": [resource],
        "resourceNames": [name],
        "verbs": [*verbs],
    }
