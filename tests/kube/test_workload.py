"""The Deployment of a gateway beside the one that Kube-OVN's own controller made of the same."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kube import watch as watch_container
from kube.configuration import Stamped, config_map, configuration, read_stamped, stamped, text_of
from kube.definitions import gateway_definition
from kube.identity import KUBE_OVN, identity_of, label_value
from kube.resolve import resolve
from kube.schema import EgressGateway, parse
from kube.workload import Watch, Workload, covers, deployment
from tests.support import recorded
from vegd.spec import GatewaySpec

_PAGE = Path(__file__).parent.parent.parent / "docs" / "differences.md"
_ROW = re.compile(r"^\| `(?P<path>[^`]+)` \| [^|]{20,} \|$", re.MULTILINE)

# What the API server fills in where a Deployment does not say it.
_DEFAULTS = re.compile(
    r".*\.(terminationMessage(Path|Policy)|successThreshold|apiVersion|scheme|defaultMode)"
    r"|spec\.(progressDeadlineSeconds|revisionHistoryLimit)"
    r"|spec\.template\.spec\.(dnsPolicy|restartPolicy|schedulerName)"
    r"|spec\.template\.spec\.affinity\.nodeAffinity"
    r"|.*\[init\]\.resources"
)


def _workload(case: str) -> Workload:
    resource = parse(EgressGateway, recorded.gateways()[case]["resource"])
    workload = resolve(resource, recorded.world(), recorded.IMAGE, Watch()).workload
    assert workload is not None
    return workload


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """What an object holds, by path; items of lists by their names, where they have any."""
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from _leaves(each, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value:
        for place, each in enumerate(value):
            name = each.get("name", place) if isinstance(each, dict) else place
            yield from _leaves(each, f"{path}[{name}]")
    else:
        yield path, value


def _differences(case: str) -> set[str]:
    ours = dict(_leaves(deployment(_workload(case), KUBE_OVN)))
    recorded_leaves = _leaves(recorded.gateways()[case]["deployment"])
    # Their main container is called after what runs in it.
    theirs = {path.replace("[bfdd]", "[gateway]"): value for path, value in recorded_leaves}
    theirs["spec.template.spec.containers[gateway].name"] = "gateway"
    defaults = {path for path in theirs if path not in ours and _DEFAULTS.fullmatch(path)}
    missing = object()
    return {
        path
        for path in (ours.keys() | theirs.keys()) - defaults
        if ours.get(path, missing) != theirs.get(path, missing)
    }


def _listed() -> list[str]:
    return _ROW.findall(_PAGE.read_text())


def _pattern(listed: str) -> re.Pattern[str]:
    return re.compile(re.escape(listed).replace(r"\*", ".*"))


@pytest.mark.parametrize("case", recorded.gateways())
def test_whatever_is_not_as_kube_ovn_makes_it_is_listed(case: str) -> None:
    patterns = [_pattern(each) for each in _listed()]
    surprises = {
        path for path in _differences(case) if not any(each.fullmatch(path) for each in patterns)
    }
    assert surprises == set()


def test_whatever_is_listed_as_a_difference_is_one() -> None:
    paths = {path for case in recorded.gateways() for path in _differences(case)}
    idle = [each for each in _listed() if not any(map(_pattern(each).fullmatch, paths))]
    assert idle == []


@pytest.mark.parametrize("case", recorded.gateways())
def test_vegd_accepts_the_configuration_of_every_recorded_gateway(case: str) -> None:
    data = config_map(_workload(case), KUBE_OVN, Stamped(7, text_of(_workload(case))))["data"]
    assert read_stamped({"data": data}).revision == 7
    spec = GatewaySpec.parse(yaml.safe_load(data["gateway.yaml"]))
    assert spec.internal.interface == "eth0"
    assert (spec.bfd is not None) == recorded.gateways()[case]["resource"]["spec"]["bfd"]["enabled"]


@pytest.mark.parametrize(
    ("case", "change"),
    [
        ("no-snat/mixed", {"policies": [{"ipBlocks": ["192.168.7.0/24"], "snat": True}]}),
        ("custom-vpc-bfd/replicas-2", {"bfd": {"enabled": True, "minTX": 50, "multiplier": 9}}),
        ("custom-vpc-bfd/replicas-2", {"bfd": {"enabled": False}}),
        ("default-vpc/replicas-1", {"selectors": [{"podSelector": {"matchLabels": {"a": "b"}}}]}),
    ],
)
def test_what_the_agent_changes_live_does_not_replace_a_pod(
    case: str, change: dict[str, Any]
) -> None:
    resource = recorded.gateways()[case]["resource"]
    changed = {**resource, "spec": resource["spec"] | change}
    after = resolve(
        parse(EgressGateway, changed), recorded.world(), recorded.IMAGE, Watch()
    ).workload
    assert after is not None
    before = _workload(case)
    assert configuration(after) != configuration(before)
    assert deployment(after, KUBE_OVN) == deployment(before, KUBE_OVN)


def test_what_the_resource_has_for_vegd_alone_is_in_its_place_in_the_configuration() -> None:
    resource = recorded.gateways()["custom-vpc-bfd/replicas-2"]["resource"]
    partner = {"name": "partner", "snat": True, "ipBlocks": ["192.168.0.64/26"]}
    agent = {
        "announce": {"times": 5},
        "bfd": {"backOff": 4, "dampening": {"flaps": 5}},
        "conntrack": {"udp": 60},
        "drain": {"grace": 20},
        "mssClamp": False,
        "policies": [partner | {"destinationCIDRs": ["203.0.113.0/24"]}],
        "probes": {"targets": [{"kind": "icmp", "address": "192.0.2.1"}]},
        "snat": {"ports": "2000-3000"},
    }
    definition = gateway_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    known = definition["properties"]["spec"]["properties"]["agent"]["properties"]
    assert agent.keys() | {"watch"} == known.keys(), "every section there is"
    changed = {**resource, "spec": resource["spec"] | {"agent": agent | {"watch": {}}}}
    workload = resolve(parse(EgressGateway, changed), recorded.world(), "image").workload
    assert workload is not None
    document = configuration(workload)
    assert [each["name"] for each in document["policies"]] == ["policy-0", "partner"]
    assert document["bfd"]["peers"] == [{"address": "10.255.255.255"}]
    assert document["drain"] == {"announceAfter": 2, "grace": 20}, (
        "the controller leads traffic away first"
    )
    spec = GatewaySpec.parse(document)
    assert spec.external.announce.times == 5
    assert spec.drain.grace == 20
    assert spec.bfd is not None


_OLD, _NEW = "policies: []\n", "policies: [{}]\n"


@pytest.mark.parametrize(
    ("text", "there", "written", "reported", "revision"),
    [
        (_NEW, Stamped(), Stamped(), 0, 1),
        (_NEW, Stamped(5, _NEW), Stamped(), 0, 5),
        (_NEW, Stamped(5, _OLD), Stamped(), 0, 6),
        pytest.param(_NEW, Stamped(5, _OLD), Stamped(6, _NEW), 0, 6, id="not seen yet"),
        pytest.param(_NEW, Stamped(5, _NEW), Stamped(6, _OLD), 0, 7, id="changed back"),
        pytest.param(_NEW, Stamped(6, _OLD), Stamped(6, _NEW), 0, 6, id="edited, same revision"),
        pytest.param(_NEW, Stamped(0, _NEW), Stamped(), 0, 1, id="from before revisions"),
        pytest.param(_NEW, Stamped(), Stamped(6, _NEW), 6, 6, id="deleted by hand"),
        pytest.param(_NEW, Stamped(), Stamped(), 9, 10, id="deleted while no controller ran"),
    ],
)
def test_a_configuration_that_differs_gets_a_higher_revision_and_no_other(
    text: str, there: Stamped, written: Stamped, reported: int, revision: int
) -> None:
    assert stamped(text, there, written, reported) == Stamped(revision, text)


def test_a_watcher_can_be_refused_and_be_told_another_api_server() -> None:
    resource = recorded.gateways()["default-vpc/replicas-1"]["resource"]
    refusing = {**resource, "spec": resource["spec"] | {"agent": {"watch": {"enabled": False}}}}
    watch = Watch("[2001:db8::1]:6443")
    without, with_one = (
        resolve(parse(EgressGateway, each), recorded.world(), "image", watch).workload
        for each in (refusing, resource)
    )
    assert without is not None
    assert with_one is not None
    names = [
        [
            each["name"]
            for each in deployment(workload, KUBE_OVN)["spec"]["template"]["spec"]["initContainers"]
        ]
        for workload in (without, with_one)
    ]
    assert names == [["init"], ["init", "watch"]]
    environment = watch_container.container(with_one, KUBE_OVN)["env"]
    assert {"name": "KUBERNETES_SERVICE_HOST", "value": "2001:db8::1"} in environment
    assert {"name": "KUBERNETES_SERVICE_PORT", "value": "6443"} in environment


def test_the_api_servers_defaults_are_no_difference_and_an_edit_is_one() -> None:
    desired = deployment(_workload("custom-vpc-bfd/replicas-2"), KUBE_OVN)
    stored = {**desired, "status": {"replicas": 2}}
    stored["spec"] = desired["spec"] | {"revisionHistoryLimit": 10}
    assert covers(stored, desired)
    stored["spec"] = stored["spec"] | {"replicas": 7}
    assert not covers(stored, desired)


def test_a_list_with_an_item_more_is_an_edit() -> None:
    assert not covers({"command": ["sleep", "1"]}, {"command": ["sleep"]})


def test_beside_kube_ovn_every_name_is_another_one() -> None:
    workload, own = _workload("default-vpc/replicas-1"), identity_of("egress.example")
    ours, theirs = deployment(workload, own), deployment(workload, KUBE_OVN)
    assert ours["metadata"]["name"] != theirs["metadata"]["name"]
    selector = ours["spec"]["selector"]["matchLabels"]
    labels = theirs["spec"]["template"]["metadata"]["labels"]
    assert not selector.items() & labels.items()
    assert ours["metadata"]["ownerReferences"][0]["apiVersion"] == "egress.example/v1"


def test_a_long_name_is_shortened_as_kube_ovn_does() -> None:
    name = "gateway-with-a-name-that-does-not-fit-into-a-label-value-of-63-characters"
    assert label_value(name) == "gateway-with-a-name-that-does-not-fit-into-a-label-val-3475a1bf"
    assert label_value("g" * 63) == "g" * 63
