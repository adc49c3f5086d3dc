"""How many of a gateway's pods evictions may take at a time: one. Pure.

Without it, draining a node that two pods of a gateway are on, or two nodes one right after the
other, takes all of its pods at once. The API server refuses to evict a pod that has two budgets, so
where somebody else's has the pods, there is none of ours.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from kube.identity import Identity
from kube.objects import Object
from kube.schema import LabelSelector
from kube.workload import Json, Workload, metadata


class _Spec(msgspec.Struct, frozen=True):
    selector: LabelSelector | None = None
    """Without one a budget has no pods."""


class _Budget(msgspec.Struct, frozen=True):
    spec: _Spec = _Spec()


def disruption_budget(workload: Workload, identity: Identity) -> Json:
    """The PodDisruptionBudget of the pods; one that is not ready may always be evicted."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(workload, identity, identity.workload_name(workload)),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": identity.labels(workload.name)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def has_pods_with(budget: Object, labels: Mapping[str, str]) -> bool:
    """Whether a budget, as the API server gives it, is for pods with these labels."""
    selector = msgspec.convert(budget, _Budget).spec.selector
    return selector is not None and selector.matches(labels)


def is_of_gateway(budget: Object, identity: Identity) -> bool:
    """Whether a budget is one of ours."""
    owners = budget.get("metadata", {}).get("ownerReferences") or ()
    wanted = (identity.api_version, "VpcEgressGateway")
    return any((each.get("apiVersion"), each.get("kind")) == wanted for each in owners)
