"""The definitions that are shipped, in a real API server: what is taken, what is refused, why."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kube.definitions import ATTACHMENTS, IP_POOLS, SUBNETS, VPCS, gateway_definition, gateways
from kube.objects import Resource
from tests.support.definitions import as_kube_ovn_has_it, install
from vegd.lab.cluster import assets
from vegd.lab.cluster.control_plane import ControlPlane, Refused

_FIXTURES = Path(__file__).parents[1] / "fixtures/kube"
_FILE = yaml.safe_load((_FIXTURES / "gateways.yaml").read_text())
_CASES: dict[str, Any] = _FILE["cases"]
_RECORDED: dict[str, Any] = json.loads((_FIXTURES / "recorded.json").read_text())
_GATEWAYS = gateways()

pytestmark = pytest.mark.usefixtures("definitions")


@pytest.fixture(autouse=True)
def _no_gateway_is_left(control_plane: ControlPlane, namespace: str) -> Iterator[None]:
    """A namespace goes in its own time; until then other tests' controllers would see them."""
    yield
    control_plane.request("DELETE", _GATEWAYS.path(namespace))


def _gateway(spec: dict[str, Any], resource: Resource = _GATEWAYS) -> dict[str, Any]:
    whole = {name: value for name, value in (_FILE["base"] | spec).items() if value is not None}
    return _object(resource, "gateway1", spec=whole)


def _object(resource: Resource, name: str, **parts: Any) -> dict[str, Any]:
    head = {"apiVersion": resource.api_version, "kind": resource.kind}
    return {**head, "metadata": {"name": name}, **parts}


def _refusals(
    plane: ControlPlane, method: str, path: str, body: dict[str, Any]
) -> tuple[list[str], dict[str, Any]]:
    """What the API server says, a line for each mistake, or the object as it takes it."""
    try:
        return [], plane.request(method, path, body)
    except Refused as no:
        causes = no.status["details"]["causes"]
        return sorted(f"{each['field']}: {each['message']}" for each in causes), {}


def _lost(given: Any, found: Any) -> bool:
    """Whether something that was given is not there."""
    if isinstance(given, dict):
        return any(name not in found or _lost(value, found[name]) for name, value in given.items())
    if isinstance(given, list):
        return len(given) != len(found) or any(map(_lost, given, found))
    return bool(given != found)


@pytest.mark.parametrize("name", _CASES)
def test_a_gateway_is_taken_or_refused_with_the_field_and_what_to_do(
    name: str, control_plane: ControlPlane, namespace: str
) -> None:
    case = _CASES[name]
    path, body = _GATEWAYS.path(namespace), _gateway(case["spec"])
    if "before" in case:
        made = control_plane.request("POST", path, _gateway(case["before"]))
        body["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"]
        found, taken = _refusals(control_plane, "PUT", f"{path}/gateway1?dryRun=All", body)
    else:
        found, taken = _refusals(control_plane, "POST", f"{path}?dryRun=All", body)
    assert found == case.get("refused", [])
    assert found or not _lost(body["spec"], taken["spec"])


def test_every_gateway_that_kube_ovn_was_recorded_with_is_taken_as_it_is(
    control_plane: ControlPlane, namespace: str
) -> None:
    path = f"{_GATEWAYS.path(namespace)}?dryRun=All"
    refused = {}
    for name, spec in _RECORDED.items():
        found, taken = _refusals(control_plane, "POST", path, _object(_GATEWAYS, "one", spec=spec))
        if found or _lost(spec, taken["spec"]):
            refused[name] = found
    assert refused == {}
    assert len(_RECORDED) > 50


def test_what_is_left_out_has_a_default(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.request("POST", _GATEWAYS.path(namespace), _gateway({}))
    found = control_plane.request("GET", _GATEWAYS.path(namespace, "gateway1"))
    assert found["spec"] == _FILE["base"] | {
        "bfd": {"enabled": False, "minRX": 1000, "minTX": 1000, "multiplier": 3},
        "podAntiAffinity": "Required",
        "replicas": 1,
        "trafficPolicy": "Cluster",
    }
    assert found["status"] == {"conditions": [], "phase": "Pending", "ready": False}


def test_kubectl_shows_a_gateway_by_its_short_names(
    control_plane: ControlPlane, namespace: str
) -> None:
    path = _GATEWAYS.path(namespace)
    made = control_plane.request("POST", path, _gateway({"vpc": "vpc1"}))
    made["status"] |= {
        "phase": "Completed",
        "ready": True,
        "internalIPs": ["192.168.0.10"],
        "externalIPs": ["172.17.0.10"],
        "workload": {"nodes": ["node1"]},
    }
    control_plane.request("PUT", f"{path}/gateway1/status", made)
    shown = control_plane.kubectl("get", "veg", "-n", namespace, "-o", "wide").stdout.splitlines()
    assert [" ".join(line.split()[:-1]) for line in shown[1:]] == [
        ('gateway1 vpc1 1 false macvlan1 Completed true ["192.168.0.10"] ["172.17.0.10"] ["node1"]')
    ]
    assert " ".join(shown[0].split()) == (
        "NAME VPC REPLICAS BFD EXTERNAL SUBNET PHASE READY INTERNAL IPS EXTERNAL IPS "
        "WORKING NODES AGE"
    )
    narrow = control_plane.kubectl("get", "vpc-egress-gw", "-n", namespace).stdout
    assert "INTERNAL IPS" not in narrow
    assert "gateway1" in narrow


def test_kubectl_scales_a_gateway_as_far_as_its_addresses_go(
    control_plane: ControlPlane, namespace: str
) -> None:
    body = _gateway({"externalIPs": ["172.17.0.10", "172.17.0.11"]})
    control_plane.request("POST", _GATEWAYS.path(namespace), body)
    scale = ("scale", "veg/gateway1", "-n", namespace)
    assert control_plane.kubectl(*scale, "--replicas=2").returncode == 0
    found = control_plane.request("GET", _GATEWAYS.path(namespace, "gateway1"))
    assert found["spec"]["replicas"] == 2
    refused = control_plane.kubectl(*scale, "--replicas=3")
    assert refused.returncode == 1
    assert "list an address for each replica, or ask for fewer replicas" in refused.stderr


def test_a_prefix_and_a_name_that_are_too_long_together_are_refused(
    control_plane: ControlPlane, namespace: str
) -> None:
    body = _gateway({"prefix": f"{'p' * 41}-"})
    body["metadata"]["name"] = "n" * 201
    found, _ = _refusals(control_plane, "POST", _GATEWAYS.path(namespace), body)
    assert [line.partition(":")[0] for line in found] == ["spec.prefix"]
    assert "more than 242 characters" in found[0]
    body["metadata"]["name"] = "n" * 200
    assert _refusals(control_plane, "POST", _GATEWAYS.path(namespace), body)[0] == []


def test_a_group_of_our_own_stands_beside_kube_ovns(
    control_plane: ControlPlane, namespace: str
) -> None:
    install(control_plane, [gateway_definition("egress.example.com")])
    ours = gateways("egress.example.com")
    control_plane.request("POST", ours.path(namespace), _gateway({"replicas": 2}, ours))
    control_plane.request("POST", _GATEWAYS.path(namespace), _gateway({"replicas": 3}))
    shown = {
        name: control_plane.kubectl(
            "get", name, "-n", namespace, "-o", "jsonpath={.items[*].spec.replicas}"
        ).stdout
        for name in ("veg", "vpc-egress-gateways.egress.example.com")
    }
    assert list(shown.values()) == ["3", "2"]
    names = control_plane.kubectl("api-resources", "--api-group=egress.example.com").stdout
    assert names.splitlines()[1].split()[:2] == ["vpc-egress-gateways", "vegd"]


def test_what_kube_ovns_definition_let_in_can_still_be_served_under_ours(
    control_plane: ControlPlane, namespace: str
) -> None:
    theirs = gateways("theirs.example.com")
    path = theirs.path(namespace, "gateway1")
    install(control_plane, [as_kube_ovn_has_it(gateway_definition(theirs.group))])
    spec = {
        "bfd": {"enabled": True, "multiplier": 300},
        "policies": [{"ipBlocks": ["10.0.0.1/8", "somewhere"]}],
        "externalIPs": ["172.17.0.10,172.17.0.11"],
    }
    control_plane.request("POST", theirs.path(namespace), _gateway(spec, theirs))
    install(control_plane, [gateway_definition(theirs.group)])
    merge = "application/merge-patch+json"
    # What a controller does: take hold of it, tell of it, and let go.
    for finalizers in (["example.com/held"], []):
        patch = {"metadata": {"finalizers": finalizers}}
        control_plane.request("PATCH", path, patch, content_type=merge)
        status = {"status": {"phase": "Processing"}}
        control_plane.request("PATCH", f"{path}/status", status, content_type=merge)
    local = {"spec": {"trafficPolicy": "Local"}}
    control_plane.request("PATCH", path, local, content_type=merge)
    found, _ = _refusals(
        control_plane, "PUT", path, control_plane.request("GET", path) | {"spec": {}}
    )
    assert found == [
        "spec.externalSubnet: Required value: name the subnet towards the outside",
        (
            "spec.policies: Required value: list a policy here or a selector in spec.selectors; "
            "without them no traffic reaches the gateway"
        ),
    ]


def test_what_the_document_shows_works(control_plane: ControlPlane, tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs/resource.md").read_text()
    (example,) = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (script,) = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "kubectl").symlink_to(assets.find("kubectl"))
    for command in (
        script,
        f"kubectl apply -f - <<'END'\n{example}END",
        *re.findall(r"`(kubectl (?:get|scale|explain) [^`]*)`", text),
        f"kubectl delete -f - <<'END'\n{example}END",
    ):
        environment = os.environ | {
            "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "KUBECONFIG": str(control_plane.kubeconfig),
            "HOME": str(tmp_path),
        }
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        assert (done.returncode, done.stderr) == (0, ""), command
        assert done.stdout


@pytest.mark.parametrize(
    ("resource", "spec"),
    [
        (VPCS, {"namespaces": ["a"], "bfdPort": {"enabled": True, "ip": "10.255.255.255,fdff::1"}}),
        (VPCS, {"bfdPort": {"nodeSelector": {"matchLabels": {"a": "b"}}, "later": 1}}),
        (SUBNETS, {"cidrBlock": "10.0.0.0/16,fd00::/64", "provider": "a.b", "excludeIps": ["a"]}),
        (IP_POOLS, {"subnet": "subnet1", "ips": ["10.0.0.1..10.0.0.9"], "namespaces": ["a"]}),
        (ATTACHMENTS, {"config": "{}"}),
    ],
)
def test_what_else_is_read_keeps_the_fields_that_are_not(
    resource: Resource, spec: dict[str, Any], control_plane: ControlPlane, namespace: str
) -> None:
    path = f"{resource.path(namespace)}?dryRun=All"
    taken = control_plane.request("POST", path, _object(resource, "one", spec=spec))
    assert not _lost(spec, taken["spec"])


@pytest.mark.parametrize(
    ("resource", "spec", "message"),
    [
        (
            VPCS,
            {"bfdPort": {"enabled": True}},
            (
                "spec.bfdPort.ip: Required value: give the address of the BFD port, an IPv4 one, "
                "an IPv6 one or both with a comma between"
            ),
        ),
        (
            VPCS,
            {"bfdPort": {"enabled": True, "ip": "10.255.255.255/32"}},
            (
                'spec.bfdPort.ip: Invalid value: "10.255.255.255/32": write an IPv4 address, an '
                "IPv6 address or one of each with a comma between, as 10.255.255.255,fdff::1"
            ),
        ),
        (
            SUBNETS,
            {"cidrBlock": "10.0.0.0"},
            (
                'spec.cidrBlock: Invalid value: "10.0.0.0": write a network of each family with a '
                "comma between, for example 10.16.0.0/16,fd00::/64"
            ),
        ),
    ],
)
def test_mistakes_in_what_else_is_read_are_refused(
    resource: Resource, spec: dict[str, Any], message: str, control_plane: ControlPlane
) -> None:
    path = f"{resource.path()}?dryRun=All"
    found, _ = _refusals(control_plane, "POST", path, _object(resource, "one", spec=spec))
    assert found == [message]
