"""The watcher in a gateway pod: its container and its credentials. Pure.

It follows the gateway's ConfigMap, quicker than the kubelet does, and reports into the gateway's
status. It is a container of its own, so that the engine keeps its processor and memory and never
sees a token; one that goes on beside the gateway (an init container, Kubernetes 1.29), so that the
pod's readiness does not wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kube.identity import Identity
from kube.layout import NOBODY, RUNTIME_DIR, TOKEN_DIR

if TYPE_CHECKING:
    from kube.workload import Json, Workload

_VOLUME = "api-access"
_TOKEN_S = 3607
"""What the API server gives pods by itself, too; the kubelet renews it in time."""


def container(workload: Workload, identity: Identity) -> Json:
    """The container; `workload.watch` is there."""
    assert workload.watch is not None  # noqa: S101 - asked by the caller
    names = {
        "VEGD_RUNTIME_DIR": RUNTIME_DIR,
        "VEGD_CONFIG_MAP": identity.config_name(workload),
        "VEGD_GATEWAY": workload.name,
        "VEGD_API_GROUP": identity.group,
    }
    host, _, port = workload.watch.api_server.rpartition(":")
    if host:
        names |= {"KUBERNETES_SERVICE_HOST": host.strip("[]"), "KUBERNETES_SERVICE_PORT": port}
    fields = {
        "POD_NAMESPACE": "metadata.namespace",
        "POD_NAME": "metadata.name",
        "NODE_NAME": "spec.nodeName",
    }
    return {
        "name": "watch",
        "image": workload.image,
        "imagePullPolicy": "IfNotPresent",
        "restartPolicy": "Always",
        "command": ["vegd", "watch"],
        "env": [
            *({"name": name, "value": value} for name, value in names.items()),
            *(
                {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
                for name, path in fields.items()
            ),
        ],
        "resources": {
            "requests": {"cpu": "10m", "memory": "64Mi"},
            "limits": {"cpu": "200m", "memory": "128Mi"},
        },
        "securityContext": {
            "runAsUser": NOBODY,
            "runAsGroup": NOBODY,
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "runtime", "mountPath": RUNTIME_DIR},
            {"name": _VOLUME, "mountPath": TOKEN_DIR, "readOnly": True},
        ],
    }


def volume() -> Json:
    """What a pod is given to speak to the API server, for this container alone."""
    certificate = {"key": "ca.crt", "path": "ca.crt"}
    namespace = {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}
    return {
        "name": _VOLUME,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": _TOKEN_S}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [certificate]}},
                {"downwardAPI": {"items": [namespace]}},
            ]
        },
    }
