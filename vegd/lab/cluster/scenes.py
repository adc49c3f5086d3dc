"""What is done to a gateway of a cluster under traffic, and what that may cost.

A scene may cost nothing, or as much time as it takes to see that something has died. Connections
may be cut only where the gateway that holds their translation goes, or where the router spreads
them anew: when something has died, and over another number of gateways.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from vegd.lab.cluster.hands import Hands
from vegd.lab.errors import SceneFailed
from vegd.lab.state import poll_until

INTERVAL_MS, MULTIPLIER = 1000, 3
"""As in Kube-OVN without a wish, and as in demo.yaml."""
DETECTION_MS = float(INTERVAL_MS * MULTIPLIER)
NODE_GONE_MS = DETECTION_MS + 360.0
"""By then OVN mostly sees a peer's silence. It looks for that when it has a BFD packet to send, and
may need longer (measured at 1000 ms x 3: 2,340 to 3,560 ms, once 3,800)."""
PATH_DOWN_MS = 3 * 500 + 3 * 250 + 5000.0
"""Until the probes of a gateway have failed, and until OVN has acted on AdminDown at the latest
(see `drain.forwardFor` in docs/configuration.md)."""
PODS = 2
_POLICY = {"snat": True, "subnets": ["inside", "apart"]}
"""As in demo.yaml."""
_DOWN_S = 60.0


class MayCut(Enum):
    """Which long connections a scene may cut."""

    NOTHING = auto()
    OF_GONE = auto()
    """Those of gateways that go, or drain."""
    ALL = auto()


@dataclass(frozen=True, slots=True)
class Scene:
    """One thing that is done."""

    name: str
    told: str
    act: Callable[[Hands], None]
    limit_ms: float = 0.0
    """How long a flow may be without an answer. Where the router gets other next hops, OVN itself
    loses a packet or a few (see "Drain" in docs/architecture.md)."""
    may_cut: MayCut = MayCut.NOTHING
    adds_routes: bool = False
    """Whether other networks get routes meanwhile, by which OVN 25.03 cuts connections (see
    docs/controller.md)."""


def _policy_added(hands: Hands) -> None:
    blocks = ["192.168.77.0/24", "fd00:77::/64"]
    _without_new_pods(hands, policies=[_POLICY, {"snat": False, "ipBlocks": blocks}])


def _policy_removed(hands: Hands) -> None:
    _without_new_pods(hands, policies=[_POLICY])


def _timers_changed(hands: Hands) -> None:
    _without_new_pods(hands, bfd={"minTX": INTERVAL_MS // 2, "minRX": INTERVAL_MS // 2})
    _without_new_pods(hands, bfd={"minTX": INTERVAL_MS, "minRX": INTERVAL_MS})


def _scaled_up(hands: Hands) -> None:
    hands.kubectl("scale", "veg", hands.gateway, f"--replicas={PODS + 1}")
    hands.settle(PODS + 1)


def _scaled_down(hands: Hands) -> None:
    hands.kubectl("scale", "veg", hands.gateway, f"--replicas={PODS}")
    hands.settle(PODS)


def _upgraded(hands: Hands) -> None:
    before = _names(hands)
    hands.change(image="vegd:next")
    hands.settle(PODS)
    if before & _names(hands):
        raise SceneFailed("a pod with the old image is still there")


def _pod_deleted(hands: Hands) -> None:
    _delete_one(hands, PODS)


def _one_of_three_deleted(hands: Hands) -> None:
    _delete_one(hands, PODS + 1)


def _one_of_three_drained(hands: Hands) -> None:
    pod = hands.pods()[0]
    hands.drain(pod)
    hands.undrain(pod)
    hands.settle(PODS + 1)


def _delete_one(hands: Hands, pods: int) -> None:
    hands.kubectl("delete", "pod", hands.pods()[0]["metadata"]["name"])
    hands.settle(pods)


def _killed(process: str) -> Callable[[Hands], None]:
    def kill(hands: Hands) -> None:
        hands.kill(hands.pods()[0], process)
        # What comes of it is seen by then: OVN's word may be a detection time old.
        time.sleep(DETECTION_MS / 1000 + 1)
        hands.settle(PODS)

    return kill


def _upstream_dead(hands: Hands) -> None:
    pod = hands.pods()[0]
    hands.cut_upstream(pod)
    _until_down(hands, {each["ip"] for each in pod["status"]["podIPs"]})


def _upstream_back(hands: Hands) -> None:
    hands.heal_upstream()
    hands.settle(PODS)


def _node_drained(hands: Hands) -> None:
    node = hands.empty_node()
    label = f"ovn.kubernetes.io/vpc-egress-gateway={hands.gateway}"
    hands.kubectl("drain", node, "--delete-emptydir-data", f"--pod-selector={label}")
    hands.settle(PODS)
    hands.kubectl("uncordon", node)
    _spread(hands)


def _node_gone(hands: Hands) -> None:
    # What was deleted or replaced before may have left all pods on this node.
    _spread(hands)
    node = hands.empty_node()
    lost = [pod for pod in hands.pods() if pod["spec"]["nodeName"] == node]
    if not lost:
        raise SceneFailed(f"no gateway pod is on {node}")
    hands.lab.stop_node(node)
    _until_down(hands, {each["ip"] for pod in lost for each in pod["status"]["podIPs"]})


def _node_back(hands: Hands) -> None:
    hands.lab.start_node(hands.empty_node())
    hands.settle(PODS)
    _spread(hands)


def _controller_restarted(hands: Hands) -> None:
    hands.restart("controller")
    _policy_added(hands)
    _policy_removed(hands)


def _api_server_restarted(hands: Hands) -> None:
    hands.restart("kube-apiserver")
    hands.until_served()
    _policy_added(hands)
    _policy_removed(hands)


def _databases_restarted(hands: Hands) -> None:
    hands.lab.network.stop_databases()
    hands.lab.network.start_databases()
    _policy_added(hands)
    _policy_removed(hands)


def _ovn_controllers_restarted(hands: Hands) -> None:
    hands.kill_ovn_controllers()
    time.sleep(DETECTION_MS / 1000 + 1)
    hands.settle(PODS)


def _spread(hands: Hands) -> None:
    """Have a pod on each node again."""
    for _ in range(PODS + 1):
        pods = hands.pods()
        if len({pod["spec"]["nodeName"] for pod in pods}) == PODS:
            return
        hands.kubectl("delete", "pod", pods[0]["metadata"]["name"])
        hands.settle(PODS)
    raise SceneFailed("the gateway's pods stay on one node")


SCENES = (
    Scene("policy added", "a policy is added", _policy_added, adds_routes=True),
    Scene("policy removed", "a policy is removed", _policy_removed, adds_routes=True),
    Scene("timers changed", "BFD's timers change", _timers_changed),
    Scene("scaled up", "a gateway more", _scaled_up, may_cut=MayCut.ALL),
    Scene(
        "one of three drained",
        "a pod is drained by hand, and taken back",
        _one_of_three_drained,
        may_cut=MayCut.OF_GONE,
    ),
    Scene(
        "one of three deleted", "a pod is deleted", _one_of_three_deleted, may_cut=MayCut.OF_GONE
    ),
    Scene("scaled down", "a gateway less", _scaled_down, may_cut=MayCut.ALL),
    Scene("upgraded", "another image, pod by pod", _upgraded, may_cut=MayCut.OF_GONE),
    Scene("pod deleted", "a pod is deleted", _pod_deleted, may_cut=MayCut.OF_GONE),
    Scene(
        "agent killed",
        "kill -9 of an agent, and so of its container",
        _killed("gateway"),
        limit_ms=DETECTION_MS,
        may_cut=MayCut.ALL,
    ),
    Scene("engine killed", "kill -9 of a BFD engine", _killed("engine")),
    Scene("watcher killed", "kill -9 of a watcher", _killed("watch")),
    Scene(
        "upstream dead",
        "the world behind a gateway dies",
        _upstream_dead,
        limit_ms=PATH_DOWN_MS,
        may_cut=MayCut.ALL,
    ),
    Scene("upstream back", "it is back", _upstream_back, may_cut=MayCut.ALL),
    Scene("node drained", "a node is drained", _node_drained, may_cut=MayCut.OF_GONE),
    Scene(
        "controller restarted", "kill -9 of the controller", _controller_restarted, adds_routes=True
    ),
    Scene(
        "API server restarted", "kill -9 of the API server", _api_server_restarted, adds_routes=True
    ),
    Scene(
        "databases restarted",
        "OVN's databases die, and are back",
        _databases_restarted,
        adds_routes=True,
    ),
    Scene(
        "ovn-controller restarted",
        "ovn-controller of each node is killed, and is back",
        _ovn_controllers_restarted,
        limit_ms=DETECTION_MS,
    ),
    Scene(
        "node gone",
        "a node loses its power",
        _node_gone,
        limit_ms=NODE_GONE_MS,
        may_cut=MayCut.ALL,
    ),
    Scene("node back", "it is back", _node_back, may_cut=MayCut.ALL),
)


def _without_new_pods(hands: Hands, **spec: object) -> None:
    before = _names(hands)
    hands.change(**spec)
    hands.settle(PODS)
    if _names(hands) != before:
        raise SceneFailed(f"pods were replaced: {sorted(before)} by {sorted(_names(hands))}")


def _names(hands: Hands) -> set[str]:
    return {str(pod["metadata"]["name"]) for pod in hands.pods()}


def _until_down(hands: Hands, peers: set[str]) -> None:
    for _ in poll_until(_DOWN_S, step_s=0.2):
        if not any(word == "up" for peer, word in hands.sessions().items() if peer in peers):
            return
    raise SceneFailed(f"OVN still uses {', '.join(sorted(peers))} after {_DOWN_S:g} s")
