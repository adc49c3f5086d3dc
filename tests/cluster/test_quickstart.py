"""The commands of docs/kube-ovn.md and docs/controller.md that speak to the API server alone."""

import re
import shlex
from pathlib import Path

import pytest

from kube.definitions import gateways
from vegd.lab.cluster.control_plane import ControlPlane

_DOCS = Path(__file__).parents[2] / "docs"
_SPEC = {"externalSubnet": "macvlan1", "policies": [{"snat": True, "ipBlocks": ["10.0.0.0/8"]}]}


def _commands(page: str, beginning: str) -> list[list[str]]:
    text = (_DOCS / page).read_text()
    found = re.findall(rf"^({re.escape(beginning)}.*)$", text, re.MULTILINE)
    assert found, beginning
    return [shlex.split(each)[1:] for each in found]


@pytest.fixture
def gateway(control_plane: ControlPlane, definitions: None, namespace: str) -> str:
    """The path of a gateway called gateway1."""
    value = {
        "apiVersion": gateways().api_version,
        "kind": "VpcEgressGateway",
        "metadata": {"name": "gateway1"},
        "spec": _SPEC,
    }
    control_plane.request("POST", gateways().path(namespace), value)
    return gateways().path(namespace, "gateway1")


def test_the_image_is_named_and_taken_away_again(
    control_plane: ControlPlane, namespace: str, gateway: str
) -> None:
    there, back = _commands("kube-ovn.md", "kubectl patch")
    for command, image in ((there, "registry.example/vegd:0.1.0"), (back, None)):
        done = control_plane.kubectl(*command, f"--namespace={namespace}")
        assert done.returncode == 0, done.stderr
        assert control_plane.request("GET", gateway)["spec"].get("image") == image


def test_a_gateway_can_be_waited_for_and_described(
    control_plane: ControlPlane, namespace: str, gateway: str
) -> None:
    said = [
        {"type": "Ready", "status": "True", "reason": "ReconcileSuccess"},
        {"type": "Applied", "status": "True", "reason": "AllPods"},
    ]
    control_plane.request(
        "PATCH",
        f"{gateway}/status",
        {"status": {"conditions": said}},
        content_type="application/merge-patch+json",
    )
    for command in (
        *_commands("controller.md", "kubectl wait"),
        *_commands("controller.md", "kubectl describe"),
    ):
        done = control_plane.kubectl(*command, f"--namespace={namespace}")
        assert done.returncode == 0, done.stderr
