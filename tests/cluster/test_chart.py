"""The Helm chart: the objects of ``kubectl kustomize kube/deploy``, changed by its values only."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import vegd
from kube.definitions import gateway_definition, gateways
from tests.support.cluster import until
from tests.support.definitions import install
from tests.support.helm import CHART, Helm, Objects, by_name
from vegd.lab.cluster.control_plane import ControlPlane, Refused

_ROOT = Path(__file__).parents[2]
_DEPLOY = _ROOT / "kube" / "deploy"
_OPERATOR = _ROOT / "tests/fixtures/prometheus_operator/definitions.yaml"
_GROUP = "chart.example"
_DEFINITION = ("CustomResourceDefinition", "vpc-egress-gateways.kubeovn.io")
_DEPLOYMENT = ("Deployment", "vegd-controller")
_POD = "spec.template.spec"
_MAIN = f"{_POD}.containers.0"
_KEEP = {"helm.sh/resource-policy": "keep"}


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Without a cluster."""
    return Helm(tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="module")
def default(helm: Helm) -> Objects:
    """What the chart makes without a value."""
    return helm.render({})


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a document, by their path; what is empty is a leaf."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    if not items:
        yield place, value
    for name, each in items:
        yield from _flat(each, f"{place}.{name}" if place else str(name))


def _changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The leaves that are others, or new; None for those that have gone."""
    old, new = dict(_flat(before)), dict(_flat(after))
    gone = dict.fromkeys(old.keys() - new.keys())
    return {place: each for place, each in new.items() if old.get(place, ...) != each} | gone


def _kustomized(plane: ControlPlane, directory: Path) -> Objects:
    rendered = plane.kubectl("kustomize", str(directory))
    assert rendered.returncode == 0, rendered.stderr
    objects = by_name(rendered.stdout)
    # "helm install --create-namespace" makes the namespace; a definition must outlive the release.
    del objects["Namespace", "vegd-system"]
    objects[_DEFINITION]["metadata"]["annotations"] = _KEEP
    return objects


def test_it_is_what_kustomize_makes(control_plane: ControlPlane, default: Objects) -> None:
    assert default == _kustomized(control_plane, _DEPLOY)


def test_with_monitoring_it_is_what_kustomize_makes_with_the_component(
    control_plane: ControlPlane, helm: Helm, tmp_path: Path
) -> None:
    places = [os.path.relpath(each, tmp_path) for each in (_DEPLOY, _DEPLOY / "monitoring")]
    overlay = {"resources": places[:1], "components": places[1:]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    rendered = helm.render({"monitoring": {"enabled": True}})
    assert rendered == _kustomized(control_plane, tmp_path)
    assert ("PodMonitor", "vegd-controller") in rendered


def test_it_is_packed_with_all_that_it_needs(helm: Helm, default: Objects, tmp_path: Path) -> None:
    helm.do("package", str(CHART), f"--destination={tmp_path}")
    packed = tmp_path / f"vegd-{vegd.__version__}.tgz"
    assert helm.render({}, chart=packed) == default


def test_lint_finds_nothing(helm: Helm) -> None:
    assert "0 chart(s) failed" in helm.do("lint", "--strict", str(CHART))


def test_its_version_is_ours() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert about["version"] == about["appVersion"] == vegd.__version__


def test_each_value_changes_its_place_in_the_deployment_and_nothing_else(
    helm: Helm, default: Objects
) -> None:
    values = {
        "image": "r.example:5000/c:1",
        "gatewayImage": "r.example/g:1",
        "ovnNorthbound": "tcp:n1:6641,tcp:n2:6641",
        "replicas": 0,
        "options": ["--workers=16", "--bfd-ports"],
        "resources": {"limits": {"memory": "1Gi"}},
        "tolerations": [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}],
        "nodeSelector": {"disk": "ssd"},
        "priorityClassName": "high",
        "imagePullSecrets": [{"name": "key"}],
    }
    rendered = helm.render(values)
    assert _changes(default[_DEPLOYMENT], rendered[_DEPLOYMENT]) == {
        f"{_MAIN}.image": "r.example:5000/c:1",
        f"{_MAIN}.env.0.value": "tcp:n1:6641,tcp:n2:6641",
        f"{_MAIN}.env.1.value": "r.example/g:1",
        "spec.replicas": 0,
        f"{_MAIN}.args.4": "--workers=16",
        f"{_MAIN}.args.5": "--bfd-ports",
        f"{_MAIN}.resources.limits.memory": "1Gi",
        f"{_MAIN}.resources.requests.cpu": None,
        f"{_MAIN}.resources.requests.memory": None,
        f"{_POD}.tolerations.0.key": "node-role.kubernetes.io/control-plane",
        f"{_POD}.tolerations.0.operator": "Exists",
        f"{_POD}.nodeSelector.disk": "ssd",
        f"{_POD}.priorityClassName": "high",
        f"{_POD}.imagePullSecrets.0.name": "key",
    }
    assert rendered | {_DEPLOYMENT: default[_DEPLOYMENT]} == default


def test_another_group_is_that_of_the_gateways_alone(helm: Helm, default: Objects) -> None:
    rendered = helm.render({"apiGroup": _GROUP, "options": ["--bfd-ports"]})
    assert _changes(default[_DEPLOYMENT], rendered[_DEPLOYMENT]) == {
        f"{_MAIN}.args.4": f"--api-group={_GROUP}",
        f"{_MAIN}.args.5": "--bfd-ports",
    }
    wanted = gateway_definition(_GROUP)
    found = rendered["CustomResourceDefinition", wanted["metadata"]["name"]]
    assert found["spec"] == wanted["spec"]
    role = ("ClusterRole", "vegd-controller")
    theirs = _rights(default[role])
    moved = {
        (_GROUP, resource, verb) if resource.startswith("vpc-egress") else (group, resource, verb)
        for group, resource, verb in theirs
    }
    assert _rights(rendered[role]) == moved != theirs


def _rights(role: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_the_namespace_is_that_of_the_release(helm: Helm) -> None:
    rendered = helm.render({"monitoring": {"enabled": True}}, namespace="other")
    assert "vegd-system" not in yaml.safe_dump_all(rendered.values())


def test_the_definition_can_be_left_out(helm: Helm, default: Objects) -> None:
    rendered = helm.render({"definition": {"install": False}})
    assert rendered == {key: each for key, each in default.items() if key != _DEFINITION}


def test_prometheus_can_be_given_the_labels_that_it_looks_for(helm: Helm) -> None:
    rendered = helm.render({"monitoring": {"enabled": True, "labels": {"release": "prometheus"}}})
    labelled = {
        key for key, each in rendered.items() if "release" in each["metadata"].get("labels", {})
    }
    assert labelled == {("PodMonitor", "vegd-controller"), ("PrometheusRule", "vegd-controller")}


def test_every_bad_value_is_refused_by_its_name(helm: Helm) -> None:
    values = {
        "image": "Not An Image",
        "gatewayImage": 1,
        "ovnNorthbound": "192.0.2.1:6641",
        "replicas": -1,
        "apiGroup": "egress",
        "options": ["workers=16"],
        "resources": {"memory": "1Gi"},
        "tolerations": [{"effect": "Never"}],
        "nodeSelector": {"gpu": True},
        "priorityClassName": 1000,
        "imagePullSecrets": ["key"],
        "definition": {"install": "no"},
        "monitoring": {"enable": True},
        "replica": 1,
    }
    done = helm.run("template", "vegd", str(CHART), helm.values(values))
    assert done.returncode == 1
    told = re.findall(r"^- at '(.*?)': (.*)$", done.stderr, re.MULTILINE)
    assert {place.split("/")[1] if place else message for place, message in told} == {
        *(values.keys() - {"replica"}),
        "additional properties 'replica' not allowed",
    }


def test_what_it_makes_without_a_value_is_taken_by_the_api_server(
    control_plane: ControlPlane, helm: Helm, namespace: str
) -> None:
    manifests = yaml.safe_dump_all(helm.render({}, namespace=namespace).values())
    dry = ("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-")
    done = control_plane.kubectl(*dry, stdin=manifests)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower()


@pytest.fixture
def operator(control_plane: ControlPlane) -> Iterator[None]:
    """What the Prometheus operator defines."""
    definitions = list(yaml.safe_load_all(_OPERATOR.read_text()))
    install(control_plane, definitions)
    yield
    control_plane.kubectl("delete", "--wait=false", "-f", str(_OPERATOR))


def test_it_is_installed_upgraded_and_taken_away_and_the_gateways_stay(
    control_plane: ControlPlane, operator: None, namespace: str, tmp_path: Path
) -> None:
    helm = Helm(tmp_path, control_plane.kubeconfig)
    there = ("vegd", str(CHART), f"--namespace={namespace}", "--set=monitoring.enabled=true")
    told = helm.do("install", *there, f"--set=apiGroup={_GROUP}")
    assert "ovnNorthbound=" in told
    try:
        gateway = {
            "apiVersion": gateways(_GROUP).api_version,
            "kind": "VpcEgressGateway",
            "metadata": {"name": "gw"},
            "spec": {
                "externalSubnet": "macvlan1",
                "policies": [{"snat": True, "ipBlocks": ["10.0.0.0/8"]}],
            },
        }
        path = gateways(_GROUP).path(namespace)
        until(lambda: _is_served(control_plane, path))
        control_plane.request("POST", path, gateway)
        pods = f"/api/v1/namespaces/{namespace}/pods?labelSelector=app=vegd-controller"
        until(lambda: len(control_plane.request("GET", pods)["items"]) == 2)
        northbound = ("--reuse-values", "--set=ovnNorthbound=tcp:n1:6641", "--set=replicas=3")
        told = helm.do("upgrade", *there, *northbound)
        assert f"Gateways of the group {_GROUP} are served" in told
        deployment = f"/apis/apps/v1/namespaces/{namespace}/deployments/vegd-controller"
        assert control_plane.request("GET", deployment)["spec"]["replicas"] == 3
        helm.do("uninstall", "vegd", f"--namespace={namespace}")
        kinds = ("get", "deployment,podmonitor,prometheusrule", f"--namespace={namespace}")
        until(lambda: "No resources found" in control_plane.kubectl(*kinds).stderr)
        assert control_plane.request("GET", f"{path}/gw")["spec"]["externalSubnet"] == "macvlan1"
    finally:
        definition = f"vpc-egress-gateways.{_GROUP}"
        control_plane.kubectl("delete", "crd", definition, "--ignore-not-found")


def _is_served(plane: ControlPlane, path: str) -> bool:
    try:
        plane.request("GET", path)
    except Refused:
        return False
    return True
