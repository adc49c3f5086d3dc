"""The recorded gateway pods (tests/fixtures/kube_ovn), as templates and with what their nodes knew.

Most of the recorded templates differ in names and addresses only. `Recorded.kind` is the template
without these: pods of one kind are run once.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface
from pathlib import Path
from typing import Any

from vegd.lab.cluster.facts import PodFacts
from vegd.lab.cluster.template import PodTemplate

Interface = IPv4Interface | IPv6Interface

_DIRECTORY = Path(__file__).parents[2] / "fixtures/kube_ovn"
_ROUTES = "ovn.kubernetes.io/routes"
_STATUS = "k8s.v1.cni.cncf.io/network-status"
_WORD = re.compile(r"[0-9a-fA-F:.]+(?:/[0-9]+)?")


@dataclass(frozen=True)
class Recorded:
    """One pod that Kube-OVN's controller has made."""

    case: str
    """``version/case/step``."""
    document: Mapping[str, Any]
    """The pod template, exactly as recorded."""
    facts: PodFacts
    """Its annotations are those of the template and what Multus has added."""
    internal: tuple[Interface, ...]
    """Of `eth0`."""
    external: tuple[Interface, ...]
    """Of `net1`."""
    environment: Mapping[str, Mapping[str, str]]
    """``init`` and ``main``, as fixed values."""
    routes: tuple[str, ...]
    """Networks that the pod reaches by its internal gateway, besides its subnet."""
    files: Mapping[str, Mapping[str, Any]]
    """Documents of its ConfigMaps, by volume and name."""

    @property
    def template(self) -> PodTemplate:
        """The template, typed."""
        return PodTemplate.parse(self.document)

    def replica(self, number: int) -> "Recorded":
        """Another pod of the same Deployment, which has other addresses; 0 is this one."""
        internal, external = (
            tuple(
                ip_interface(f"{each.ip + 100 * number}/{each.network.prefixlen}") for each in side
            )
            for side in (self.internal, self.external)
        )
        facts = replace(self.facts, name=f"{self.facts.name}{number or ''}", ips=_ips(internal))
        return replace(self, facts=facts, internal=internal, external=external)

    @property
    def kind(self) -> str:
        """The template with each name and each address replaced by what it is."""
        metadata = self.document["metadata"]
        label = metadata["labels"]["ovn.kubernetes.io/vpc-egress-gateway"]
        spec = {k: v for k, v in self.document["spec"].items() if k != "affinity"}
        versions = [[each.version for each in side] for side in (self.internal, self.external)]
        text = json.dumps([spec, versions, self._policies()], sort_keys=True)
        for container in (*spec["containers"], *spec["initContainers"]):
            text = text.replace(container["image"], "image")
        return _WORD.sub(_family, text.replace(label, "gateway"))

    def _policies(self) -> list[int]:
        peers = self.environment["main"].get("BFD_PEER_IPS", "").split(",")
        return [_version(each) for each in self.routes if each.partition("/")[0] not in peers]


def _ips(addresses: tuple[Interface, ...]) -> tuple[str, ...]:
    return tuple(str(each.ip) for each in addresses)


def _version(network: str) -> int:
    return 6 if ":" in network else 4


def _family(word: re.Match[str]) -> str:
    try:
        return f"<IPv{ip_address(word[0].partition('/')[0]).version}>"
    except ValueError:
        return word[0]


@cache
def recordings() -> Mapping[str, Recorded]:
    """Every recorded pod, by its case."""
    return {each.case: each for each in _read()}


def kinds() -> dict[str, list[Recorded]]:
    """The recorded pods, grouped by `Recorded.kind`; the first stands for its group."""
    found: dict[str, list[Recorded]] = {}
    for each in recordings().values():
        found.setdefault(each.kind, []).append(each)
    return found


def _read() -> Iterator[Recorded]:
    made = json.loads((_DIRECTORY / "templates.json").read_text())
    given = json.loads((_DIRECTORY / "pods.json").read_text())
    for case, pod in made["pods"].items():
        facts = given[case]
        annotations = {name: _text(value) for name, value in pod["annotations"].items()}
        if facts["routes"]:
            annotations[_ROUTES] = _text(facts["routes"])
        shape = json.dumps(made["shapes"][pod["shape"]]).replace("LABEL", pod["gateway"])
        document = _document(json.loads(shape), pod, facts, annotations)
        internal = tuple(map(ip_interface, facts["eth0"]))
        yield Recorded(
            case,
            document,
            PodFacts(
                pod["pod"],
                pod["node"],
                _ips(internal),
                annotations={**annotations, _STATUS: json.dumps(pod["network-status"])},
                labels=document["metadata"]["labels"],
            ),
            internal,
            tuple(map(ip_interface, facts["net1"])),
            {role: facts[role] for role in ("init", "main")},
            tuple(route["dst"] for route in facts["routes"]),
            pod.get("volumes", {}),
        )


def _document(
    spec: Mapping[str, Any],
    pod: Mapping[str, Any],
    facts: Mapping[str, Any],
    annotations: Mapping[str, str],
) -> dict[str, Any]:
    environments = {"init": facts["init"], "bfdd": facts["main"]}
    for container in (*spec["initContainers"], *spec["containers"]):
        container["image"] = pod["image"]
        if container["name"] in environments:
            container["env"] += [
                {"name": name, "value": value} if value else {"name": name}
                for name, value in environments[container["name"]].items()
                if name != "POD_IPS"
            ]
    labels = {
        "app": "vpc-egress-gateway",
        "ovn.kubernetes.io/vpc-egress-gateway": pod["gateway"],
    }
    return {"metadata": {"annotations": dict(annotations), "labels": labels}, "spec": spec}


def _text(value: Any) -> str:
    """As Kube-OVN writes it."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
