"""From a gateway to the Deployment that runs it, and its pods' annotations. Pure.

Names, labels, annotations, security and strategy are those that Kube-OVN's controller gives its
gateways, so that its CNI, its pod handler and people find what they know. What is different, and
why, stands in ``docs/differences.md``; above all the pods are told nothing that may change while
they live. Sources, SNAT, BFD peers and timers are in the ConfigMap, which the kubelet renews in the
running pod, so that only what a pod is made of replaces it: image, subnets, addresses, place.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kube import watch
from kube.identity import Identity
from kube.layout import BFD_GATE, CONFIG_DIR, CONFIG_FILE, NOBODY, RUNTIME_DIR

Json = dict[str, Any]

INTERNAL_INTERFACE, EXTERNAL_INTERFACE = "eth0", "net1"
"""The pod's first interface, and that of the one network it is attached to besides (Multus)."""
METRICS_PORT = 10669
OBSERVER_PORT = 10666

_GRACE_S = 30
"""Longer than `drain.announceAfter` and `grace`, 2 and 25 s, so that a drain ends by itself."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """One side of the gateway pods."""

    subnet: str
    """Name of the Subnet."""
    gateways: tuple[str, ...]
    """Next hops, at most one of each family."""
    provider: str = "ovn"
    """Of the Subnet; the annotations of this network begin with it."""
    ip_pool: str = ""
    """Addresses separated by ``;``, or the name of an IPPool; empty: whatever is free."""


@dataclass(frozen=True, slots=True)
class Bfd:
    """Sessions with the VPC's BFD port. Intervals in ms, as the resource has them."""

    peers: tuple[str, ...]
    min_tx: int = 1000
    min_rx: int = 1000
    multiplier: int = 3


@dataclass(frozen=True, slots=True)
class Policy:
    """Sources, as networks, that are forwarded with or without SNAT."""

    name: str
    snat: bool
    ip_blocks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Watch:
    """That a watcher runs in the pods."""

    api_server: str = ""
    """``HOST:PORT`` of the API server for the pods; empty: the address that they are told."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Everything about a gateway that its pods depend on, with nothing left to look up."""

    namespace: str
    name: str
    """Of the resource."""
    uid: str
    prefix: str
    replicas: int
    image: str
    internal: Attachment
    external: Attachment
    network: str
    """``<namespace>/<name>`` of the NetworkAttachmentDefinition outside."""
    policies: tuple[Policy, ...] = ()
    bfd: Bfd | None = None
    ingress_mbit: int = 0
    """From outside into the VPC; 0 is no limit."""
    egress_mbit: int = 0
    node_selector: tuple[Mapping[str, Any], ...] = ()
    """The resource's terms, as they are."""
    spread: str = "Required"
    """``podAntiAffinity`` of the resource."""
    tolerations: tuple[Mapping[str, Any], ...] = ()
    resources: Mapping[str, Any] | None = None
    observability: Mapping[str, Any] | None = None
    agent: Mapping[str, Any] = field(default_factory=dict)
    """``spec.agent`` of the resource, as it is."""
    watch: Watch | None = None


def deployment(workload: Workload, identity: Identity) -> Json:
    """The Deployment, with the fields that are ours (the rest is the API server's to fill in)."""
    labels = identity.labels(workload.name)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(workload, identity, identity.workload_name(workload)),
        "spec": {
            "replicas": workload.replicas,
            "selector": {"matchLabels": labels},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0},
            },
            "template": {
                "metadata": {"labels": labels, "annotations": pod_annotations(workload)},
                "spec": _pod_spec(workload, identity),
            },
        },
    }


def pod_annotations(workload: Workload) -> dict[str, str]:
    """Of the pods: what Kube-OVN's pod handler and CNI and Multus are to do."""
    outside = f"{workload.external.provider}.kubernetes.io"
    everywhere = [
        {"dst": "::/0" if ":" in gateway else "0.0.0.0/0", "gw": gateway}
        for gateway in workload.external.gateways
    ]
    found = {
        "k8s.v1.cni.cncf.io/networks": workload.network,
        "ovn.kubernetes.io/logical_switch": workload.internal.subnet,
        f"{outside}/routes": json.dumps(everywhere, separators=(",", ":")) if everywhere else "",
        "ovn.kubernetes.io/ip_pool": workload.internal.ip_pool,
        f"{outside}/ip_pool": workload.external.ip_pool,
        # The resource speaks from the side of the VPC, the annotation from that of the pod's
        # first interface: what comes into the VPC leaves the pod there.
        "ovn.kubernetes.io/egress_rate": _rate(workload.ingress_mbit),
        "ovn.kubernetes.io/ingress_rate": _rate(workload.egress_mbit),
    }
    return {name: text for name, text in found.items() if text}


def covers(observed: Any, desired: Any) -> bool:
    """Whether an object is as it should be: what is desired is there, and lists hold nothing else.
    Fields that somebody else has added, such as the API server's defaults, do not count."""
    if observed == desired:
        return True
    if isinstance(desired, Mapping):
        return isinstance(observed, Mapping) and all(
            covers(observed.get(key), value) for key, value in desired.items()
        )
    if isinstance(desired, Sequence) and not isinstance(desired, str):
        return (
            isinstance(observed, Sequence)
            and len(observed) == len(desired)
            and all(map(covers, observed, desired))
        )
    # The API server leaves out what is empty.
    return observed is None and desired in ("", 0, False)


def metadata(workload: Workload, identity: Identity, name: str) -> Json:
    """Of what is made for a gateway: it is the gateway's, and goes with it."""
    return {
        "name": name,
        "namespace": workload.namespace,
        "labels": identity.labels(workload.name),
        "ownerReferences": [
            {
                "apiVersion": identity.api_version,
                "kind": "VpcEgressGateway",
                "name": workload.name,
                "uid": workload.uid,
            }
        ],
    }


def _pod_spec(workload: Workload, identity: Identity) -> Json:
    spec: Json = {
        "affinity": _affinity(workload, identity),
        "initContainers": [_init_container(workload), *_sidecars(workload, identity)],
        "containers": [_gateway_container(workload)],
        # With BFD and without: a gate cannot be had by a pod that is there.
        "readinessGates": [{"conditionType": BFD_GATE}],
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": _GRACE_S,
        "automountServiceAccountToken": False,
        "volumes": _volumes(workload, identity),
    }
    if workload.watch is not None:
        spec["serviceAccountName"] = identity.config_name(workload)
    else:
        # The API server keeps the name under the field's old name, too, and goes by that one if
        # only the other is taken away.
        spec |= {"serviceAccountName": "", "serviceAccount": ""}
    if workload.tolerations:
        spec["tolerations"] = [dict(each) for each in workload.tolerations]
    return spec


def _sidecars(workload: Workload, identity: Identity) -> Iterator[Json]:
    if workload.observability is not None:
        yield _observer_container(workload)
    if workload.watch is not None:
        yield watch.container(workload, identity)


def _volumes(workload: Workload, identity: Identity) -> list[Json]:
    volumes: list[Json] = [
        {"name": "configuration", "configMap": {"name": identity.config_name(workload)}},
        {"name": "runtime", "emptyDir": {}},
    ]
    if workload.observability is not None:
        status = "metadata.annotations['k8s.v1.cni.cncf.io/network-status']"
        item = {"path": "network-status", "fieldRef": {"fieldPath": status}}
        volumes.append({"name": "observability-podinfo", "downwardAPI": {"items": [item]}})
    if workload.watch is not None:
        volumes.append(watch.volume())
    return volumes


def _init_container(workload: Workload) -> Json:
    """The one privileged step: kernel parameters, and the dataplane before anything runs."""
    return {
        "name": "init",
        "image": workload.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["vegd", "init", "--config", f"{CONFIG_DIR}/{CONFIG_FILE}"],
        "securityContext": {"privileged": True},
        "volumeMounts": _mounts(),
    }


def _gateway_container(workload: Workload) -> Json:
    command = ["vegd", "run", "--config", f"{CONFIG_DIR}/{CONFIG_FILE}"]
    resources = workload.resources or {
        "requests": {"cpu": "200m", "memory": "50Mi"},
        "limits": {"cpu": "300m", "memory": "64Mi", "ephemeral-storage": "1Gi"},
    }
    return {
        "name": "gateway",
        "image": workload.image,
        "imagePullPolicy": "IfNotPresent",
        "command": command if workload.watch is None else [*command, "--followed"],
        "env": [{"name": "VEGD_RUNTIME_DIR", "value": RUNTIME_DIR}],
        "ports": [{"name": "bfdd-metrics", "containerPort": METRICS_PORT, "protocol": "TCP"}],
        "startupProbe": _probe("livez", delay=1, period=2, failures=30),
        "livenessProbe": _probe("livez", delay=1, period=5, failures=3),
        "readinessProbe": _probe("readyz", delay=3, period=3, failures=1),
        "resources": dict(resources),
        "securityContext": {
            "runAsUser": NOBODY,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_BIND_SERVICE", "NET_RAW"]},
        },
        "volumeMounts": _mounts(),
    }


def _probe(page: str, *, delay: int, period: int, failures: int) -> Json:
    """Asked inside the pod, as the kubelet does not reach the pods of a custom VPC; by curl, as a
    start of the interpreter every few seconds would take a tenth of the pod's processor."""
    socket = f"{RUNTIME_DIR}/agent.sock"
    command = ["curl", "-fsS", "--max-time", "5", "--unix-socket", socket, f"http://vegd/{page}"]
    return {
        "exec": {"command": command},
        "initialDelaySeconds": delay,
        "periodSeconds": period,
        "timeoutSeconds": 10,
        "failureThreshold": failures,
    }


def _mounts() -> list[Json]:
    return [
        {"name": "configuration", "mountPath": CONFIG_DIR, "readOnly": True},
        {"name": "runtime", "mountPath": RUNTIME_DIR},
    ]


def _observer_container(workload: Workload) -> Json:
    """Beside the gateway for all its life: an init container that goes on (Kubernetes 1.29)."""
    observer = "/kube-ovn/vpc-egress-gateway-observer"
    network_status = ("--network-status", "/etc/podinfo/network-status")
    names = {"POD_NAME": "metadata.name", "NODE_NAME": "spec.nodeName"}
    wish = workload.observability or {}
    resources = wish.get("resources") or {
        "requests": {"cpu": "20m", "memory": "64Mi"},
        "limits": {"cpu": "200m", "memory": "256Mi"},
    }
    return {
        "name": "observability",
        "image": workload.image,
        "imagePullPolicy": "IfNotPresent",
        "restartPolicy": "Always",
        "command": [observer, "--config", f"{CONFIG_DIR}/observer.json", *network_status],
        "env": [
            {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
            for name, path in names.items()
        ],
        "ports": [{"name": "metrics", "containerPort": OBSERVER_PORT, "protocol": "TCP"}],
        "livenessProbe": {
            "exec": {"command": [observer, "--health-check"]},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        },
        "resources": dict(resources),
        "securityContext": {
            "runAsUser": NOBODY,
            "runAsGroup": NOBODY,
            "runAsNonRoot": True,
            # Capabilities of a user other than root come from the file that is executed.
            "allowPrivilegeEscalation": True,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
        },
        "volumeMounts": [
            {"name": "configuration", "mountPath": CONFIG_DIR, "readOnly": True},
            {"name": "observability-podinfo", "mountPath": "/etc/podinfo", "readOnly": True},
        ],
    }


def _affinity(workload: Workload, identity: Identity) -> Json:
    term = {
        "labelSelector": {"matchLabels": identity.labels(workload.name)},
        "topologyKey": "kubernetes.io/hostname",
    }
    apart: Json = (
        {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
        if workload.spread == "Required"
        else {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 100, "podAffinityTerm": term}
            ]
        }
    )
    terms = [_node_term(each) for each in workload.node_selector]
    if not terms:
        return {"podAntiAffinity": apart}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return {"podAntiAffinity": apart, "nodeAffinity": required}


def _node_term(selector: Mapping[str, Any]) -> Json:
    labels = selector.get("matchLabels") or {}
    expressions = [
        *selector.get("matchExpressions", ()),
        *({"key": key, "operator": "In", "values": [labels[key]]} for key in sorted(labels)),
    ]
    fields = selector.get("matchFields") or ()
    term = {"matchExpressions": expressions, "matchFields": [*fields]}
    return {name: values for name, values in term.items() if values}


def _rate(mbit: int) -> str:
    return str(mbit) if mbit else ""
