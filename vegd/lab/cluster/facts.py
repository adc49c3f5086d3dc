"""What a pod is besides its template: who it is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_KEYED = re.compile(r"metadata\.(annotations|labels)\['(.+)'\]")


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What the API server and the node know of a pod."""

    name: str
    node: str
    ips: tuple[str, ...]
    """Of the primary interface, as in ``status.podIPs``."""
    namespace: str = "default"
    annotations: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    uid: str = ""
    service_account: str = "default"
    host_ip: str = ""

    def value(self, path: str) -> str:
        """A field as the downward API gives it. KeyError if there is none of that path."""
        if keyed := _KEYED.fullmatch(path):
            found: Mapping[str, str] = getattr(self, keyed[1])
            return found.get(keyed[2], "")
        return {
            "metadata.name": self.name,
            "metadata.namespace": self.namespace,
            "metadata.uid": self.uid,
            "spec.nodeName": self.node,
            "spec.serviceAccountName": self.service_account,
            "status.hostIP": self.host_ip,
            "status.podIP": self.ips[0],
            "status.podIPs": ",".join(self.ips),
        }[path]
