"""What the life of a pod needs of the world around it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from kube.objects import Object
from vegd.lab.cluster.facts import PodFacts
from vegd.lab.cluster.template import TokenSource
from vegd.lab.cluster.volumes import Token


class Host(Protocol):
    """What all pods of the lab's nodes have around them."""

    directory: Path
    image: Path
    streams: Path
    host_ip: str

    async def plug(self, pod: Object, netns: str) -> Mapping[str, str]:
        """Make the interfaces; what is to be written of them. Raises LabError, KubeError."""

    async def unplug(self, pod: Object, netns: str) -> None:
        """Take them away, and give the addresses back."""

    async def drop(self, netns: str) -> None:
        """Take the pod's namespace away; its addresses and ports stay."""

    def config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Data of a ConfigMap."""

    async def token(self, facts: PodFacts, source: TokenSource) -> Token:
        """A token for a pod. Raises KubeError."""

    async def annotate(self, pod: Object, annotations: Mapping[str, str]) -> None:
        """Write annotations. Raises KubeError."""

    async def report(self, pod: Object, status: Object) -> None:
        """Write the status. Raises KubeError."""

    async def warn(self, pod: Object, reason: str, message: str) -> None:
        """Write an Event. Raises KubeError."""

    async def remove(self, pod: Object) -> None:
        """Delete the object for good. Raises KubeError."""
