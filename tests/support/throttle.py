"""An API server that has no time for one user."""

import contextlib
from collections.abc import Iterator

from tests.support.control_plane import ControlPlane

_API = "/apis/flowcontrol.apiserver.k8s.io/v1"


@contextlib.contextmanager
def reject_everything_of(user: str, plane: ControlPlane) -> Iterator[None]:
    """Have every request of a user answered with 429, soon after this begins."""
    level = {
        "metadata": {"name": "nothing"},
        "spec": {
            "type": "Limited",
            "limited": {
                "nominalConcurrencyShares": 0,
                "lendablePercent": 0,
                "borrowingLimitPercent": 0,
                "limitResponse": {"type": "Reject"},
            },
        },
    }
    everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True}
    flow = {
        "metadata": {"name": "nothing"},
        "spec": {
            "matchingPrecedence": 2,
            "priorityLevelConfiguration": {"name": "nothing"},
            "rules": [
                {
                    "subjects": [{"kind": "User", "user": {"name": user}}],
                    "resourceRules": [everything | {"namespaces": ["*"]}],
                }
            ],
        },
    }
    plane.request("POST", f"{_API}/prioritylevelconfigurations", level)
    plane.request("POST", f"{_API}/flowschemas", flow)
    try:
        yield
    finally:
        plane.request("DELETE", f"{_API}/flowschemas/nothing")
        plane.request("DELETE", f"{_API}/prioritylevelconfigurations/nothing")
