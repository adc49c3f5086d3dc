"""The lab's nodes run pods as a cluster's do: real API server, scheduler and controllers, real OVN.

The cluster is built once for all tests here; each makes pods of its own.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.support.cluster_lab import World, client, cluster, condition, container, eventually
from vegd.lab import namespaces
from vegd.lab.cluster.cluster import ClusterLab
from vegd.lab.errors import BadRequest, LabError
from vegd.lab.lab import Lab

pytestmark = [pytest.mark.system, pytest.mark.timeout(420)]

_GATEWAY = {
    "apiVersion": "kubeovn.io/v1",
    "kind": "VpcEgressGateway",
    "metadata": {"name": "gateway1", "namespace": "default"},
    "spec": {
        "vpc": "ovn-cluster",
        "replicas": 2,
        "externalSubnet": "macvlan1",
        "policies": [{"snat": True, "subnets": ["ovn-default"]}],
        "agent": {"drain": {"forwardFor": 1, "grace": 2}},
    },
}
_LABEL = "ovn.kubernetes.io/vpc-egress-gateway=gateway1"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with cluster() as made:
        yield made


def sh(text: str) -> dict[str, list[str]]:
    """A container that runs a script."""
    return {"command": ["sh", "-c", text]}


def fetch(world: World, pod: str) -> str:
    """As whom the outside host sees a pod."""
    return world.inside(pod, "curl", "-s", "--max-time", "5", "http://172.17.0.1/")


def test_the_controllers_gateway_runs_in_pods_and_translates(world: World) -> None:
    world.apply(_GATEWAY, client("client"))
    eventually(lambda: world.get("veg", "gateway1").get("status", {}).get("ready"))
    pods = world.pods(_LABEL)
    nodes = sorted(each["spec"]["nodeName"] for each in pods)
    assert nodes == ["node1", "node2"]
    externals = set()
    for pod in pods:
        name, annotations = pod["metadata"]["name"], pod["metadata"]["annotations"]
        told = json.loads(annotations["k8s.v1.cni.cncf.io/network-status"])
        externals.add(told[1]["ips"][0])
        assert annotations["ovn.kubernetes.io/logical_router"] == "ovn-cluster"
        assert annotations["ovn.kubernetes.io/ip_address"] == pod["status"]["podIP"]
        assert container(pod, "init")["state"]["terminated"]["exitCode"] == 0
        status = json.loads(world.inside(name, "vegd", "status", "--json", container="gateway"))
        assert status["state"] == "ready", status
        shown = world.lab.kubectl("exec", name, "-c", "gateway", "--", "ip", "-o", "address")
        assert {f"{told[1]['ips'][0]}/16", f"{pod['status']['podIP']}/16"} <= set(shown.split())
        assert "the gateway is ready" in world.lab.kubectl("logs", name, "-c", "gateway")
        # Who runs it, and what it sees of the machine.
        assert world.inside(name, "id", "-u", container="gateway") == "65534"
        assert not world.inside(name, "touch", "/x", container="gateway")
        assert "vegd run" in world.inside(name, "ps", "-o", "args", "1", container="gateway")
    world.until_ready("client")
    assert eventually(lambda: fetch(world, "client")) in externals
    # The API server, as a pod of the gateway reaches it.
    version = ("curl", "-sk", "--max-time", "5", "https://10.96.0.1/version")
    assert "gitVersion" in world.inside(name, *version, container="gateway")


def test_the_deployments_pods_are_replaced_and_deleted(world: World) -> None:
    before = {each["metadata"]["name"] for each in world.pods(_LABEL)}
    gone = min(before)
    world.lab.kubectl("delete", "pod", gone, "--wait=false")

    def is_replaced() -> bool:
        now = {each["metadata"]["name"]: condition(each, "Ready") for each in world.pods(_LABEL)}
        return gone not in now and list(now.values()) == ["True", "True"]

    eventually(is_replaced)
    there = {world.netns(each) for each in world.pods(_LABEL)}
    assert there <= set(namespaces.names())
    world.lab.kubectl("delete", "veg", "gateway1", "--wait=false")
    eventually(lambda: not world.pods(_LABEL))
    assert not there & set(namespaces.names())


def test_volumes_and_variables_follow_what_they_are_made_of(world: World) -> None:
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}}
    token = {"serviceAccountToken": {"path": "token", "expirationSeconds": 600}}
    root = {"configMap": {"name": "kube-root-ca.crt"}}
    labels = {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels['app']"}}
    mounts = {"settings": "/etc/settings", "api": "/var/run/secrets/api", "who": "/who", "d": "/d"}
    named = {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    keyed = {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "a"}}}
    pod = client(
        "volumes",
        main={
            "env": [named, keyed, {"name": "BOTH", "value": "$(A)-$(NODE)"}],
            "volumeMounts": [{"name": n, "mountPath": path} for n, path in mounts.items()],
        },
        serviceAccountName="default",
        volumes=[
            {"name": "settings", "configMap": {"name": "settings"}},
            {"name": "api", "projected": {"sources": [token, root]}},
            {"name": "who", "downwardAPI": {"items": [labels]}},
            {"name": "d", "emptyDir": {}},
        ],
    )
    world.apply(pod)
    eventually(lambda: "FailedMount" in world.reasons("volumes"))
    assert container(world.get("pod", "volumes"))["state"]["waiting"]["reason"]
    world.apply({**settings, "data": {"a": "1"}})
    node = world.until_ready("volumes")["spec"]["nodeName"]
    assert world.inside("volumes", "sh", "-c", "echo $A $BOTH") == f"1 1-{node}"
    assert world.inside("volumes", "cat", "/who/labels") == "volumes"
    assert world.inside("volumes", "sh", "-c", "echo x >/d/x && cat /d/x") == "x"
    assert not world.inside("volumes", "touch", "/etc/settings/x")
    review = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": world.inside("volumes", "cat", "/var/run/secrets/api/token")},
    }
    text = world.lab.kubectl("create", "-o", "json", "-f", "-", stdin=json.dumps(review))
    status = json.loads(text)["status"]
    assert status["user"]["username"] == "system:serviceaccount:default:default"
    assert status["user"]["extra"]["authentication.kubernetes.io/pod-name"] == ["volumes"]
    assert "BEGIN CERTIFICATE" in world.inside("volumes", "cat", "/var/run/secrets/api/ca.crt")
    world.apply({**settings, "data": {"a": "2", "b": "3"}})
    both = ("sh", "-c", "cat /etc/settings/a /etc/settings/b")
    eventually(lambda: world.inside("volumes", *both) == "23")
    world.delete("pod", "volumes")


def test_init_containers_and_sidecars_run_in_their_order(world: World) -> None:
    mount = {"volumeMounts": [{"name": "d", "mountPath": "/d"}]}
    world.apply(
        client(
            "ordered",
            volumes=[{"name": "d", "emptyDir": {}}],
            initContainers=[
                {"name": "first", "image": "lab", **mount, **sh("echo first >>/d/log")},
                {
                    "name": "side",
                    "image": "lab",
                    "restartPolicy": "Always",
                    "startupProbe": {"exec": {"command": ["test", "-e", "/d/up"]}},
                    **mount,
                    **sh("echo side >>/d/log; touch /d/up; trap exit TERM; sleep 9999 & wait"),
                },
                {
                    "name": "fails",
                    "image": "lab",
                    **mount,
                    **sh("echo tried >>/d/log; test -e /d/mended"),
                },
            ],
            main=mount | sh("echo main >>/d/log; trap exit TERM; sleep 9999 & wait"),
        )
    )
    failing = eventually(
        lambda: container(world.get("pod", "ordered"), "fails").get("restartCount")
    )
    assert failing >= 1
    loop = "CrashLoopBackOff"
    eventually(
        lambda: (
            container(world.get("pod", "ordered"), "fails")["state"]
            .get("waiting", {})
            .get("reason")
            == loop
        )
    )
    pod = world.get("pod", "ordered")
    assert (pod["status"]["phase"], condition(pod, "Initialized")) == ("Pending", "False")
    assert container(pod, "fails")["lastState"]["terminated"]["exitCode"] == 1
    world.inside("ordered", "touch", "/d/mended", container="side")
    pod = world.until_ready("ordered")
    assert pod["status"]["phase"] == "Running"
    log = world.inside("ordered", "cat", "/d/log").split()
    assert list(dict.fromkeys(log)) == ["first", "side", "tried", "main"]
    assert log.count("side") == 1
    world.delete("pod", "ordered")


def test_probes_restart_a_container_and_say_whether_it_is_ready(world: World) -> None:
    quick = {"periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 10}
    world.apply(
        client(
            "probed",
            readinessGates=[{"conditionType": "example.com/gate"}],
            main={
                "livenessProbe": {"exec": {"command": ["test", "!", "-e", "/run/dead"]}, **quick},
                "readinessProbe": {"exec": {"command": ["test", "-e", "/run/ready"]}, **quick},
            },
        )
    )
    eventually(lambda: container(world.get("pod", "probed")).get("started"))
    assert not container(world.get("pod", "probed"))["ready"]
    world.inside("probed", "touch", "/run/ready")
    eventually(lambda: condition(world.get("pod", "probed"), "ContainersReady") == "True")
    assert condition(world.get("pod", "probed"), "Ready") == "False"
    gate = {"type": "example.com/gate", "status": "True"}
    patch = json.dumps({"status": {"conditions": [gate]}})
    world.lab.kubectl("patch", "pod", "probed", "--subresource=status", "-p", patch)
    world.until_ready("probed")
    world.inside("probed", "touch", "/run/dead")
    eventually(lambda: container(world.get("pod", "probed")).get("restartCount") == 1)
    eventually(lambda: container(world.get("pod", "probed"))["state"].get("running"))
    # What the process before has written is gone with it.
    assert not container(world.get("pod", "probed"))["ready"]
    world.delete("pod", "probed")


def test_what_ends_by_itself_is_judged_by_the_restart_policy(world: World) -> None:
    world.apply(
        client("done", restartPolicy="Never", main=sh("exit 0")),
        client("failed", restartPolicy="Never", main=sh("echo why >&2; exit 7")),
        client("odd", hostPID=True),
    )
    eventually(lambda: world.get("pod", "done")["status"]["phase"] == "Succeeded")
    eventually(lambda: world.get("pod", "failed")["status"]["phase"] == "Failed")
    ended = container(world.get("pod", "failed"))["state"]["terminated"]
    assert (ended["exitCode"], ended["message"]) == (7, "why")
    eventually(lambda: world.get("pod", "odd")["status"]["phase"] == "Failed")
    assert "hostPID" in world.get("pod", "odd")["status"]["message"]
    for name in ("done", "failed", "odd"):
        world.delete("pod", name)


def test_a_pod_has_its_grace_period_and_no_more(world: World) -> None:
    world.apply(
        client(
            "polite",
            terminationGracePeriodSeconds=60,
            main=sh("trap 'sleep 1; exit' TERM; while :; do sleep 0.1; done"),
        ),
        client("deaf", terminationGracePeriodSeconds=4, main=sh("trap '' TERM; sleep 9999")),
    )
    polite, deaf = world.until_ready("polite"), world.until_ready("deaf")
    begun = time.monotonic()
    world.lab.kubectl("delete", "pod", "polite", "deaf", "--wait=false")
    assert world.get("pod", "deaf")["metadata"]["deletionTimestamp"]
    eventually(lambda: not world.get("pod", "deaf"))
    assert time.monotonic() - begun >= 4
    eventually(lambda: not world.get("pod", "polite"))
    assert time.monotonic() - begun < 60
    for pod in (polite, deaf):
        assert world.netns(pod) not in namespaces.names()


def test_addresses_are_fixed_or_from_a_pool_and_given_back(world: World) -> None:
    def fixed(name: str, pool: str) -> dict[str, object]:
        return client(name, annotations={"ovn.kubernetes.io/ip_pool": pool})

    ips = ["10.16.0.200..10.16.0.201"]
    world.apply(
        {
            "apiVersion": "kubeovn.io/v1",
            "kind": "IPPool",
            "metadata": {"name": "pool"},
            "spec": {"subnet": "ovn-default", "ips": ips},
        },
        fixed("fixed", "10.16.0.100;10.16.0.101"),
        fixed("pooled", "pool"),
    )
    assert world.until_ready("fixed")["status"]["podIP"] == "10.16.0.100"
    assert world.until_ready("pooled")["status"]["podIP"] == "10.16.0.200"
    world.apply(fixed("late", "10.16.0.100"))
    eventually(lambda: "FailedCreatePodSandBox" in world.reasons("late"))
    world.delete("pod", "fixed")
    assert world.until_ready("late")["status"]["podIP"] == "10.16.0.100"
    for name in ("late", "pooled"):
        world.delete("pod", name)


def test_a_kubelet_that_is_killed_begins_its_pods_anew_with_their_addresses(world: World) -> None:
    world.apply(client("kept"))
    before = world.until_ready("kept")
    os.kill(world.lab.process("kubelet").pid, signal.SIGKILL)
    eventually(lambda: world.lab.state.process("kubelet") is None)
    world.lab.start_kubelet()
    eventually(lambda: container(world.get("pod", "kept"))["restartCount"] == 1)
    after = world.until_ready("kept")
    assert after["status"]["podIP"] == before["status"]["podIP"]
    assert world.inside("kept", "hostname") == "kept"
    world.delete("pod", "kept")


def test_a_node_without_power_is_lost_and_comes_back(world: World) -> None:
    world.apply(client("here", nodeSelector={"kubernetes.io/hostname": "node2"}))
    pod = world.until_ready("here")
    netns = world.netns(pod)
    world.lab.stop_node("node2")
    eventually(lambda: netns not in namespaces.names())
    eventually(lambda: condition(world.get("node", "node2"), "Ready") == "Unknown")
    world.lab.start_node("node2")
    eventually(lambda: condition(world.get("node", "node2"), "Ready") == "True")
    eventually(lambda: container(world.get("pod", "here")).get("restartCount"))
    assert world.until_ready("here")["status"]["podIP"] == pod["status"]["podIP"]
    world.lab.kubectl("delete", "node", "node2", "--wait=false")
    eventually(lambda: not world.get("pod", "here"))
    eventually(lambda: netns not in namespaces.names())


def test_a_cluster_is_found_by_its_prefix_and_only_one_can_have_it(world: World) -> None:
    prefix = world.lab.options.prefix
    assert ClusterLab.find(prefix).options == world.lab.options
    with pytest.raises(LabError, match="is there already"):
        world.lab.create()
    with pytest.raises(LabError, match="is a cluster: use kubectl"):
        Lab.find(prefix)
    with pytest.raises(LabError, match="vegd lab up --cluster"):
        ClusterLab.find("nowhere")
    with pytest.raises(BadRequest, match="the nodes are node1, node2"):
        world.lab.stop_node("node3")
    command = [sys.executable, "-m", "vegd", "lab", "kubeconfig", "--prefix", prefix]
    line = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert line == f"export KUBECONFIG={world.lab.kubeconfig}\n"
