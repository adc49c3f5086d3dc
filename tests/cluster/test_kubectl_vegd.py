"""``kubectl vegd`` by a real kubectl, against gateways that a real controller has made."""

import json
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, until
from tests.support.controller import ControllerProcess, find, running, standing
from tests.support.kubectl_vegd import Said, kubectl_vegd
from tests.support.ovsdb import OvsdbServer
from vegd.cli.kubectl import main
from vegd.lab.cluster.control_plane import ADMIN, NOBODY, ControlPlane, free_ports

pytestmark = pytest.mark.timeout(300)

_OUT = "203.0.113.5"
_LABEL = "ovn.kubernetes.io/vpc-egress-gateway=gw"
"""Of the pods of the gateway `gw`; those of another that was deleted may still be there."""

Plugin = Callable[..., Said]


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory,
    control_plane: ControlPlane,
    definitions: None,
    lasting_northbound: OvsdbServer,
) -> Iterator[Cluster]:
    """A gateway with BFD that is well, one that cannot be carried out, and a client."""
    with control_plane.namespace() as namespace:
        made = Cluster(control_plane, namespace)
        process = ControllerProcess(
            tmp_path_factory.mktemp("controller"),
            control_plane,
            lasting_northbound.remote,
            free_ports(1)[0],
            "--bfd-binding=policies",
        )
        with running(process), standing(made, lasting_northbound):
            lasting_northbound.nbctl("lr-route-add", made.vpc, "0.0.0.0/0", "192.168.0.1")
            made.gateway("gw", replicas=2, bfd={"enabled": True})
            made.gateway("bad", externalSubnet="nowhere", policies=[{"ipBlocks": ["10.9.0.0/24"]}])
            made.client_pod("web", "192.168.0.77", app="web")
            made.client_pod("far", "192.168.9.9", app="far")
            made.until_ready("gw")
            for row in find(lasting_northbound, "BFD"):
                lasting_northbound.nbctl("set", "BFD", row["_uuid"], "status=up")
            until(lambda: made.condition("gw", "BFDHealthy")[0] == "True")
            until(lambda: made.condition("bad", "Validated")[0] == "False")
            _report(made)
            yield made
            made.close(has_controller=True)


@pytest.fixture
def plugin(cluster: Cluster) -> Plugin:
    """Runs a command in the cluster's namespace."""
    return lambda *arguments: kubectl_vegd(
        cluster.plane.kubeconfig, *arguments, f"--namespace={cluster.namespace}"
    )


def _gateway_pods(cluster: Cluster) -> list[str]:
    return [pod["metadata"]["name"] for pod in cluster.pods(_LABEL)]


def test_status_lists_gateways_and_its_exit_status_says_whether_all_are_well(
    cluster: Cluster, plugin: Plugin
) -> None:
    said = plugin("status")
    assert said.status == 1, "one is not well"
    header, bad, good = (line.split() for line in said.out.splitlines())
    assert header == (
        ["NAMESPACE", "NAME", "VPC", "REPLICAS", "READY", "OVN", "AGENTS", "APPLIED", "CONFLICT"]
    )
    space, vpc = cluster.namespace, cluster.vpc
    assert bad[:5] == [space, "bad", vpc, "0/1", "no"]
    assert good[:6] == [space, "gw", vpc, "2/2", "yes", "up"]
    everywhere = kubectl_vegd(cluster.plane.kubeconfig, "status", "-A", "--json")
    names = {(each["namespace"], each["name"]) for each in json.loads(everywhere.out)}
    assert {(space, "gw"), (space, "bad")} <= names


def test_status_of_one_shows_conditions_and_replicas(cluster: Cluster, plugin: Plugin) -> None:
    said = plugin("status", "gw")
    assert said.status == 0, said
    assert f"{cluster.namespace}/gw: Vpc {cluster.vpc}, 2 of 2 replicas in use" in said.out
    assert "2 of 2 sessions are up in OVN" in said.out
    for pod in _gateway_pods(cluster):
        assert re.search(
            rf"^{pod} +{cluster.namespace}-n[12] +192\.168\.0\.\d+ ", said.out, re.MULTILINE
        )


def test_why_of_a_gateway_that_is_well_and_of_one_that_is_not(
    cluster: Cluster, plugin: Plugin
) -> None:
    good = plugin("why", "gw")
    assert (good.status, good.out) == (
        0,
        f"VpcEgressGateway {cluster.namespace}/gw: nothing is wrong\n",
    )
    bad = plugin("why", "bad")
    assert bad.status == 1
    assert bad.out.splitlines() == [
        (
            f"BROKEN    VpcEgressGateway {cluster.namespace}/bad: spec.externalSubnet: 'nowhere' "
            "is no Subnet"
        ),
        "          -> create it or name another",
    ]
    (finding,) = json.loads(plugin("why", "bad", "--json").out)["findings"]
    assert finding["severity"] == "BROKEN"


def test_why_of_pods(cluster: Cluster, plugin: Plugin) -> None:
    web = plugin("why", "web")
    assert web.status == 0
    assert (
        f"192.168.0.77 is taken by {cluster.namespace}/gw: spec.policies[0].ipBlocks[0]" in web.out
    )
    far = plugin("why", "pod/far")
    assert far.status == 1
    assert "takes its IPv4 address 192.168.9.9" in far.out
    assert "192.168.9.9 is in none of its networks (192.168.0.0/24)" in far.out
    pod = _gateway_pods(cluster)[0]
    cluster.set_ready(pod, ready=False)
    try:
        own = plugin("why", pod)
        assert own.status == 1
        assert f"Pod {cluster.namespace}/{pod}: runs and is not Ready" in own.out
    finally:
        cluster.set_ready(pod, ready=True)


def test_what_the_scheduler_says_is_told_with_a_remedy(cluster: Cluster, plugin: Plugin) -> None:
    networks = [{"snat": True, "ipBlocks": ["10.8.0.0/24"]}]
    cluster.gateway("wide", replicas=3, policies=networks)
    try:
        said = until(lambda: _if(plugin("why", "wide"), "cannot be scheduled"))
        assert "didn't match pod anti-affinity rules" in said.out
        assert "set spec.podAntiAffinity to Preferred" in said.out
    finally:
        cluster.plane.request("DELETE", f"{cluster.gateways_path}/wide")
    until(lambda: cluster.is_gone(f"{cluster.gateways_path}/wide"))


def _if(said: Said, text: str) -> Said | None:
    return said if text in said.out else None


def test_trace_by_the_resources_and_verified_against_ovn(
    cluster: Cluster, plugin: Plugin, lasting_northbound: OvsdbServer
) -> None:
    said = plugin("trace", "web", _OUT, "--ovn-nb", lasting_northbound.remote)
    assert said.status == 0, said
    assert "policy 29100: ip4.src == $VEG." in said.out
    assert re.search(
        r"it shows as 172\.17\.0\.\d+ or 172\.17\.0\.\d+, ports 1024 to 65535", said.out
    )
    assert re.search(
        r"in OVN: reroute by policy 29100 .*\n    next hop 192\.168\.0\.\d+, session up", said.out
    )
    assert f"forwarded: {cluster.namespace}/gw takes it" in said.out.splitlines()[-1]
    told = json.loads(plugin("trace", "web", _OUT, "--json").out)
    assert (told["verdict"], told["leaves"]["snat"], len(told["nextHops"])) == (
        "forwarded",
        True,
        2,
    )
    missed = plugin("trace", "far", _OUT)
    assert missed.status == 1
    assert missed.out.splitlines()[-2].startswith("not taken: no gateway of the Vpc")
    assert plugin("trace", "web", "192.168.0.9").out.splitlines()[-1].startswith("inside: ")


def test_trace_tells_where_ovn_does_otherwise(
    cluster: Cluster, plugin: Plugin, lasting_northbound: OvsdbServer
) -> None:
    match = f"ip4.dst == {_OUT}"
    lasting_northbound.nbctl("lr-policy-add", cluster.vpc, "31000", match, "drop")
    try:
        said = plugin("trace", "web", _OUT, "--ovn-nb", lasting_northbound.remote)
    finally:
        lasting_northbound.nbctl("lr-policy-del", cluster.vpc, "31000")
    assert said.status == 1
    assert f"policy 31000 {match}, of no gateway, takes the packet (drop)" in said.out
    assert said.out.splitlines()[-1].startswith("OVN does otherwise than the resources say")


def test_overlapping_gateways_are_told_from_either_side_and_from_the_pods(
    cluster: Cluster, plugin: Plugin
) -> None:
    cluster.gateway("other", policies=[{"snat": True, "ipBlocks": ["192.168.0.64/26"]}])
    try:
        until(lambda: cluster.condition("other", "Conflict")[0] == "True")
        gateway, pod = plugin("why", "gw"), plugin("why", "web")
        traced = plugin("trace", "web", _OUT)
    finally:
        cluster.plane.request("DELETE", f"{cluster.gateways_path}/other")
    until(lambda: cluster.is_gone(f"{cluster.gateways_path}/other"))
    until(lambda: cluster.condition("gw", "Conflict")[0] == "False")
    space = cluster.namespace
    assert gateway.status == pod.status == traced.status == 1
    assert f"192.168.0.0/24 overlaps 192.168.0.64/26 of {space}/other" in gateway.out
    assert f"{space}/gw and {space}/other take 192.168.0.77" in pod.out
    assert traced.out.splitlines()[-2].startswith(f"undefined: {space}/gw and {space}/other claim")


def test_the_bundle_has_resources_and_findings_and_says_what_it_lacks(
    cluster: Cluster, plugin: Plugin, tmp_path: Path
) -> None:
    path = tmp_path / "bundle.tar.gz"
    said = plugin("support-bundle", "-o", str(path))
    assert said.status == 0, said
    with tarfile.open(path) as tar:
        files = {
            name.partition("/")[2]: (tar.extractfile(name) or tmp_path.open("rb")).read().decode()
            for name in tar.getnames()
        }
    space = cluster.namespace
    assert "nothing is wrong" in files[f"gateways/{space}/gw.txt"]
    assert "'nowhere' is no Subnet" in files[f"gateways/{space}/bad.txt"]
    assert "ipBlocks:" in files["configmaps.yaml"]
    assert "managedFields" not in "".join(files.values())
    for pod in _gateway_pods(cluster):
        assert f"agents/{space}/{pod}.tar.gz: " in files["missing.txt"]
    again = plugin("support-bundle", "-o", str(path))
    assert (again.status, again.err) == (
        1,
        f"vegd: {path}: cannot be written: File exists; name another by -o\n",
    )


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (["status", "none"], 2, "there is no gateway {namespace}/none in the group kubeovn.io"),
        (["status", "--api-group=egress.none"], 2, "is --api-group egress.none right?"),
        (["status", "--context=none"], 2, "give --kubeconfig and --context"),
        (["why", "none"], 2, "there is no gateway or Pod {namespace}/none; give the namespace by"),
        (["trace", "none", "203.0.113.5"], 2, "there is no Pod {namespace}/none"),
        (["drain", "web"], 2, "{namespace}/web is no pod of a gateway"),
        (["drain", "none"], 2, "there is no Pod {namespace}/none"),
        (["support-bundle", "none"], 2, "there is no gateway {namespace}/none"),
    ],
)
def test_what_is_not_there_is_one_line_with_a_remedy(
    cluster: Cluster,
    arguments: list[str],
    status: int,
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    where = [f"--kubeconfig={cluster.plane.kubeconfig}", f"--namespace={cluster.namespace}"]
    with pytest.raises(SystemExit) as end:
        main([*arguments, *where])
    assert end.value.code == status
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert complaint.format(namespace=cluster.namespace) in said
    assert not list(tmp_path.iterdir()), "nothing was written"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["trace", "web", "example.com"], "'example.com' is no address; give an IPv4 or IPv6"),
        (["trace", "web", "192.0.2.1", "--port=0"], "'0' is no port; give 1 to 65535"),
        (["drain", "web", "--timeout=soon"], "'soon' is no time; give seconds, 0 or more"),
        (["nothing"], "invalid choice: 'nothing'"),
    ],
)
def test_a_command_line_that_cannot_be_used(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert complaint in capsys.readouterr().err


def test_a_cluster_that_does_not_answer_is_exit_status_3(plugin: Plugin, tmp_path: Path) -> None:
    lines = [
        "apiVersion: v1",
        "kind: Config",
        'clusters: [{name: x, cluster: {server: "http://127.0.0.1:9"}}]',
        "contexts: [{name: x, context: {cluster: x, namespace: else}}]",
        "current-context: x",
    ]
    config = tmp_path / "config"
    config.write_text("\n".join(lines))
    said = plugin("status", f"--kubeconfig={config}")
    assert said.status == 3
    assert "is the API server there, and --context the cluster's?" in said.err
    said = plugin("trace", "web", _OUT, "--ovn-nb=unix:/nonexistent")
    assert said.status == 3
    assert "is --ovn-nb the cluster's?" in said.err


def test_who_may_read_nothing_is_told_so(cluster: Cluster, plugin: Plugin, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(cluster.plane.kubeconfig.read_text().replace(ADMIN, NOBODY))
    said = plugin("why", "gw", f"--kubeconfig={config}")
    assert said.status == 3
    assert said.err.count("\n") == 1
    assert 'cannot list resource "vpc-egress-gateways"' in said.err
    assert said.err.endswith("; ask for that right\n")
    said = plugin("support-bundle", f"--kubeconfig={config}", "-o", str(tmp_path / "b.tar.gz"))
    assert said.status == 0
    assert "what could not be had is in missing.txt of it" in said.out


def test_what_pods_report_is_shown_and_judged(cluster: Cluster, plugin: Plugin) -> None:
    pod = _gateway_pods(cluster)[0]
    shown = plugin("status")
    assert re.search(r" gw .* 2/2 Up ", shown.out), shown
    _report(cluster, **{pod: "Down"})
    try:
        status, why = plugin("status", "gw"), plugin("why", "gw")
    finally:
        _report(cluster)
    assert status.status == why.status == 1
    assert re.search(
        rf"^{pod} +192\.168\.0\.\d +10\.255\.255\.255 +Down +", status.out, re.MULTILINE
    )
    assert "its BFD session with 10.255.255.255 is Down: silence" in why.out


def _report(cluster: Cluster, **states: str) -> None:
    """What `vegd watch` writes in the pods; sessions are Up unless they are in `states`."""
    entries = []
    for pod in cluster.pods(_LABEL):
        name, address = pod["metadata"]["name"], pod["status"]["podIP"]
        state = states.get(name, "Up")
        session = {"local": address, "peer": "10.255.255.255", "state": state, "reason": "silence"}
        entries.append({"pod": name, "revision": 1, "state": "ready", "bfd": [session]})
    cluster.patch(f"{cluster.gateways_path}/gw/status", {"status": {"gateways": entries}})
