"""What ``kubectl apply -k kube/deploy`` installs: it works, with no right more than it needs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kube.account import role
from kube.identity import KUBE_OVN
from kube.workload import Attachment, Workload
from tests.support.cluster import Cluster, until
from tests.support.controller import ControllerProcess, running, standing
from tests.support.ovsdb import OvsdbServer
from vegd.lab.cluster.control_plane import ControlPlane, free_ports

pytestmark = pytest.mark.timeout(300)

_DEPLOY = Path(__file__).parents[2] / "kube" / "deploy"
_NAMESPACE, _ACCOUNT = "vegd-system", "vegd-controller"
_USER = f"system:serviceaccount:{_NAMESPACE}:{_ACCOUNT}"

_NOWHERE = Attachment("subnet", ())

Right = tuple[str, str, str]
"""Group, resource with subresource, and verb."""


@pytest.fixture(scope="module")
def manifests(control_plane: ControlPlane, definitions: None) -> Iterator[list[dict[str, Any]]]:
    """Applied, and deleted at the end, but for the definition, which others use."""
    rendered = control_plane.kubectl("kustomize", str(_DEPLOY))
    assert rendered.returncode == 0, rendered.stderr
    applied = control_plane.kubectl(
        "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=rendered.stdout
    )
    assert applied.returncode == 0, applied.stderr
    assert "warning" not in applied.stderr.lower()
    documents = list(yaml.safe_load_all(rendered.stdout))
    yield documents
    ours = [each for each in documents if each["kind"] != "CustomResourceDefinition"]
    control_plane.kubectl("delete", "--wait=false", "-f", "-", stdin=yaml.safe_dump_all(ours))


@pytest.fixture
def cluster(
    control_plane: ControlPlane, manifests: object, namespace: str, northbound: OvsdbServer
) -> Iterator[Cluster]:
    with standing(Cluster(control_plane, namespace), northbound, nodes=1) as made:
        yield made


def _granted(manifests: list[dict[str, Any]]) -> set[Right]:
    return {
        (group, resource, verb)
        for each in manifests
        if each["kind"] in ("ClusterRole", "Role")
        for rule in each["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def _handed_on() -> set[Right]:
    """What the watchers in the pods may do: nobody can give a right that he does not have."""
    workload = Workload("ns", "gw", "uid", "", 1, "image", _NOWHERE, _NOWHERE, "ns/eth1")
    return _granted([role(workload, KUBE_OVN)])


def _used(plane: ControlPlane) -> tuple[set[Right], list[str]]:
    """The rights that were made use of, and what was refused."""
    used: set[Right] = set()
    refused = []
    for event in plane.requests_of(_USER):
        about = event.get("objectRef") or {}
        parts = (about.get("resource", ""), about.get("subresource", ""))
        resource = "/".join(filter(None, parts))
        code = event["responseStatus"]["code"]
        right = (about.get("apiGroup", ""), resource, event["verb"])
        if code == 403:
            refused.append(f"{event['verb']} {event['requestURI']}")
        used.add(right)
        if event["verb"] == "patch" and code == 201:
            # Server-side apply of what is not there asks for both rights.
            used.add((*right[:2], "create"))
    return used, refused


def _report_of_a_pod_that_is_gone(cluster: Cluster) -> None:
    body = {
        "apiVersion": f"{cluster.group}/v1",
        "kind": "VpcEgressGateway",
        "metadata": {"name": "gw", "namespace": cluster.namespace},
        "status": {"gateways": [{"pod": "gone"}]},
    }
    path = f"{cluster.gateways_path}/gw/status?fieldManager=vegd-watch/gone"
    cluster.plane.request("PATCH", path, body, content_type="application/apply-patch+yaml")
    until(lambda: not cluster.read("gw")["status"].get("gateways"))


def test_the_controller_needs_every_right_that_it_has_and_no_other(
    tmp_path: Path, cluster: Cluster, northbound: OvsdbServer, manifests: list[dict[str, Any]]
) -> None:
    plane = cluster.plane
    token = plane.kubectl("create", "token", _ACCOUNT, f"--namespace={_NAMESPACE}")
    assert token.returncode == 0, token.stderr
    kubeconfig = plane.write_kubeconfig(tmp_path / "account", token.stdout.strip())
    controller = ControllerProcess(
        tmp_path,
        plane,
        northbound.remote,
        free_ports(1)[0],
        "--bfd-binding=policies",
        f"--kubeconfig={kubeconfig}",
        f"--lease-namespace={_NAMESPACE}",
    )
    with running(controller):
        cluster.gateway("gw", bfd={"enabled": True})
        cluster.until_ready("gw")
        _report_of_a_pod_that_is_gone(cluster)
        lease = f"/apis/coordination.k8s.io/v1/namespaces/{_NAMESPACE}/leases/vegd-controller"
        first = plane.request("GET", lease)["spec"]["renewTime"]
        until(lambda: plane.request("GET", lease)["spec"]["renewTime"] != first)
        cluster.change("gw", agent={"watch": {"enabled": False}})
        account = f"/api/v1/namespaces/{cluster.namespace}/serviceaccounts/gw-vegd"
        until(lambda: cluster.is_gone(account))
        cluster.budget("theirs", {"matchLabels": {"app": KUBE_OVN.app}})
        until(lambda: cluster.is_gone(f"{cluster.budgets_path}/gw"))
        cluster.plane.request("DELETE", f"{cluster.gateways_path}/gw")
        until(lambda: cluster.is_gone(f"{cluster.gateways_path}/gw"))
        assert controller.stop() == 0
    used, refused = _used(plane)
    assert refused == []
    assert used | _handed_on() == _granted(manifests)


def test_the_pods_of_the_controller_are_made(
    control_plane: ControlPlane, manifests: list[dict[str, Any]]
) -> None:
    """That is, the Deployment passes what admits pods; without nodes nothing runs them."""
    path = f"/api/v1/namespaces/{_NAMESPACE}/pods?labelSelector=app=vegd-controller"
    pods = until(lambda: control_plane.request("GET", path)["items"])
    until(lambda: len(control_plane.request("GET", path)["items"]) == 2)
    assert pods[0]["spec"]["serviceAccountName"] == _ACCOUNT
