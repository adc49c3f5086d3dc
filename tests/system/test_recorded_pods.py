"""Gateway pods as Kube-OVN's controller writes them, run from the built image.

Every recorded template (tests/fixtures/kube_ovn) is of one of the kinds that are run here: those of
a kind differ in names and addresses only. Each pod has a world of its own, with the lab's router;
several run at a time, because most of a pod's life is waiting.
"""

import asyncio
import copy
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bfd.client import Client
from bfd.fsm import State
from tests.support.image import Image
from tests.support.netns import ip, run
from tests.support.pods.container import Running
from tests.support.pods.pod import Pod, running
from tests.support.pods.recorded import Recorded, kinds, recordings
from tests.support.pods.world import World, world
from vegd.lab import events
from vegd.lab.flows import FlowRecord, Probes, probed
from vegd.lab.topology import RouterKind

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

_AT_A_TIME = 4
_WITHIN_S = 150.0
"""Of everything that is waited for: a pod with a small share of a slow machine."""
_SLOWNESS = 10.0
"""Kube-OVN 1.14 gives a probe one second."""
_KINDS = {group[0].case: group[0] for group in kinds().values()}
_CONFIG = {"namespace": "default", "name": "gateway25", "externalNetwork": "default/eth1"}


@asynccontextmanager
async def pod_of(
    place: World, image: Image, directory: Path, number: int = 0
) -> AsyncIterator[Pod]:
    """One of the pods of a world, not started, with its ConfigMaps."""
    recorded, ns = place.pods[number], place.namespace(number)
    made = running(recorded.template, recorded.facts, image, ns, directory / ns, _SLOWNESS)
    async with made as pod:
        for volume, files in recorded.files.items():
            pod.volumes.write(volume, {name: json.dumps(text) for name, text in files.items()})
        yield pod


async def up(place: World, pod: Pod, number: int = 0) -> None:
    """Wait until a pod is ready, and the sessions that the router has with it are Up."""
    await pod.ready(_WITHIN_S)
    gateway = place.lab.topology.gateways[number]
    await asyncio.to_thread(place.lab.wait_up, (gateway,), _WITHIN_S)


async def eventually(what: str, holds: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it holds."""
    deadline = time.monotonic() + _WITHIN_S
    while not await holds():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.2)


# The life of a pod -------------------------------------------------------------------------------


async def life(recorded: Recorded, image: Image, directory: Path) -> None:
    """From the init container to the end, with everything that is true of each kind."""
    with world([recorded]) as place:
        async with pod_of(place, image, directory) as pod:
            assert not (await pod.initialise("init")).endswith("nothing to change\n")
            await pod.start()
            assert pod.container("init").log().endswith("nothing to change\n")
            await up(place, pod)
            await asyncio.to_thread(judge_traffic, place)
            main = pod.container(recorded.template.spec.containers[0].name)
            await judge_main(main, recorded)
            if recorded.files:
                await judge_observer(place, pod)
            await pod.stop()
            judge_end(main, recorded)
            await judge_farewell(place)


def judge_traffic(place: World) -> None:
    """The outside sees a pod instead of whom has SNAT, and nobody in another one's place."""
    external = {str(each.ip) for pod in place.pods for each in pod.external}
    shown = place.seen([*place.snat, *place.no_snat])
    assert len(shown) >= len(place.no_snat) + 4
    for source, seen in shown.items():
        assert seen == source if source in place.no_snat else seen in external, shown
    assert place.leaks() == 0


async def judge_main(main: Running, recorded: Recorded) -> None:
    """Who the processes are, and that the sessions are as Kube-OVN's commands say."""
    who = await main.execute("cat", "/proc/1/status")
    fields = dict(line.split(":\t", 1) for line in who.output.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == ["65534"] * 4
    assert fields["NoNewPrivs"] == "0"
    peers = recorded.environment["main"].get("BFD_PEER_IPS")
    if peers:
        own = [str(each.ip) for each in recorded.internal]
        pairs = [(a, b) for a in own for b in peers.split(",") if (":" in a) is (":" in b)]
        status = await main.execute("bfdd-control", "status")
        assert status.output.count(" state=Up\n") == len(pairs), status
        for local, remote in pairs:
            assert f" local={local} (a) remote={remote} state=Up\n" in status.output


async def judge_observer(place: World, pod: Pod) -> None:
    """Metrics and records of connections, these as soon as the ConfigMap asks for them."""
    (recorded,) = place.pods
    observer = pod.container("observability")
    prefix, source = "kube_ovn_vpc_egress_gateway_", place.snat[0]

    async def counts() -> bool:
        page = await observer.execute("curl", "--silent", "http://127.0.0.1:10666/metrics")
        line = re.search(
            rf"^{prefix}interface_tx_packets_total{{(.*)}} [1-9]", page.output, re.MULTILINE
        )
        return line is not None and f'pod="{recorded.facts.name}"' in line[1]

    async def records() -> bool:
        await asyncio.to_thread(place.seen, [source])
        lines = [
            json.loads(each) for each in observer.log().splitlines() if '"schemaVersion"' in each
        ]
        kinds = {each["event"] for each in lines if each["original"]["sourceIP"] == source}
        assert {each["translated"]["sourceIP"] for each in lines} <= {str(recorded.external[0].ip)}
        return kinds == {"start", "end"}

    await eventually("metrics", counts)
    # Else the end of a connection comes two minutes after its last packet.
    run(place.namespace(), "sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_timeout_time_wait=1")
    assert '"schemaVersion"' not in observer.log()
    config = copy.deepcopy(recorded.files["observability-config"]["config.json"])
    config["observability"]["conntrack"]["log"]["enabled"] = True
    pod.volumes.write("observability-config", {"config.json": json.dumps(config)})
    await eventually("records of connections", records)


async def judge_farewell(place: World) -> None:
    """The router has heard AdminDown in every session, not missed the pod."""
    async with Client(place.lab.state.runtime_dir("router") / "bfd.sock") as router:
        history = await router.history()
    ends = {each.key.peer: each.session.remote_state for each in history if each.ended_up}
    peers = place.lab.topology.peers()
    assert ends == {each.internal_address(family): State.ADMIN_DOWN for each, family in peers}


def judge_end(main: Running, recorded: Recorded) -> None:
    """The daemon ends by itself within its grace period; nothing was too large or killed before."""
    sleeps = not recorded.environment["main"]
    drains = recorded.template.spec.termination_grace_period_seconds > 0
    assert main.exits == ([0] if drains and not sleeps else [137]), main.told()
    judge_figures(main)


def judge_figures(container: Running) -> None:
    """It has stayed below its limit."""
    figures = container.figures()
    assert figures.oom_kills == 0
    assert figures.memory_limit is None or 0 < figures.memory_peak < figures.memory_limit


@pytest.fixture(scope="module")
def lives(
    request: pytest.FixtureRequest, image: Image, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[None]]]:
    """Those of the kinds that are tested in this run."""

    def live(case: str, directory: Path) -> None:
        asyncio.run(life(_KINDS[case], image, directory))

    chosen = [
        str(item.callspec.params["case"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.function is test_the_life_of_a_pod
    ]
    # Made here: pytest's factory is not for several threads.
    directories = {case: tmp_path_factory.mktemp("pod") for case in chosen}
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        yield {case: pool.submit(live, case, directories[case]) for case in chosen}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("case", _KINDS)
def test_the_life_of_a_pod(lives: dict[str, Future[None]], case: str) -> None:
    lives[case].result()


# Two of them, and one that has no peace -----------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "router"),
    [
        ("master/custom-vpc-bfd/replicas-2", RouterKind.OVN),
        ("master/ipv6-bfd/replicas-2", RouterKind.OVN),
        ("master/dual-stack-bfd/both-sides", RouterKind.OVN),
        ("v1.14.0/dual-stack-bfd/both-sides", RouterKind.LINUX),
    ],
)
async def test_a_pod_leaves_without_loss(
    image: Image, tmp_path: Path, case: str, router: RouterKind
) -> None:
    """Also with a grace period of 0, where a kubelet gives 2 s and ends the drain by force."""
    replicas = [recordings()[case], recordings()[case].replica(1)]
    with world(replicas, router, clients=3) as place:
        async with pod_of(place, image, tmp_path) as one, pod_of(place, image, tmp_path, 1) as two:
            await asyncio.gather(one.start(), two.start())
            await asyncio.gather(up(place, one), up(place, two, 1))
            await asyncio.to_thread(judge_traffic, place)
            await judge_replacement(place, one)
            for pod in (one, two):
                judge_figures(pod.container("bfdd"))


async def judge_replacement(place: World, leaving: Pod) -> None:
    """No probe is lost while the first pod ends and its network goes."""
    staying = {str(each.ip) for each in place.pods[1].external}
    probes = Probes(place.lab.state, probed(place.lab), interval_ms=50)
    await asyncio.to_thread(probes.start)

    async def both_carry() -> bool:
        return probes.now().keys() > staying

    async def one_carries() -> bool:
        return probes.now().keys() == staying

    await eventually("both pods carry probes", both_carry)
    await leaving.stop()
    for link in ("net1", "eth0"):
        ip("link", "del", link, ns=place.namespace())
    await eventually("the other pod carries all", one_carries)
    flows = await asyncio.to_thread(probes.stop)
    assert {flow.by[-1] for flow in flows} == staying
    assert sum(flow.lost for flow in flows) == lost_by_ovn(place, flows)
    assert place.leaks() == 0


def lost_by_ovn(place: World, flows: list[FlowRecord]) -> int:
    """Probes that were lost alone while OVN took a next hop away (docs/architecture.md, Drain)."""
    if place.lab.options.router is not RouterKind.OVN:
        return 0
    ends = [each.at for each in events.read(place.lab.event_directory) if not each.is_up]
    return sum(
        any(0 <= at - end <= 0.1 for end in ends) for flow in flows for at in flow.single_losses()
    )


async def test_probes_are_answered_beside_a_busy_neighbour(image: Image, tmp_path: Path) -> None:
    """A kubelet's probes are answered in time while something else uses up what the container may
    use, and nothing that is left behind stays as a zombie."""
    recorded = recordings()["master/custom-vpc-bfd/replicas-2"]
    with world([recorded]) as place:
        async with pod_of(place, image, tmp_path) as pod:
            await pod.start()
            await up(place, pod)
            main = pod.container("bfdd")
            await judge_reaping(main)
            async with busy(main):
                await judge_answers(main, recorded)
            assert pod.is_ready
            assert main.exits == []
            assert events.up(place.lab.event_directory, place.lab.topology.peers())
            judge_figures(main)
            await asyncio.to_thread(judge_traffic, place)


@pytest.mark.parametrize("router", [RouterKind.LINUX, RouterKind.OVN])
async def test_a_container_that_is_killed_takes_its_sessions_up_again(
    image: Image, tmp_path: Path, router: RouterKind
) -> None:
    """Under the same discriminators: OVN may go on with those that it knows."""
    recorded = recordings()["master/custom-vpc-bfd/replicas-2"]
    with world([recorded], router) as place:
        async with pod_of(place, image, tmp_path) as pod:
            await pod.start()
            await up(place, pod)
            main = pod.container("bfdd")
            before = await discriminators(main)
            await main.crash()

            async def runs_again() -> bool:
                return main.exits == [137] and await discriminators(main) == before

            await eventually("the same sessions", runs_again)
            await up(place, pod)
            await asyncio.to_thread(judge_traffic, place)
            assert main.exits == [137]


async def discriminators(main: Running) -> list[str]:
    """Those of the engine in a container; empty while it does not answer."""
    shown = await main.execute("vegd", "sessions", "--json")
    if not shown.output.startswith("["):
        return []
    return [str(each["local_discr"]) for each in json.loads(shown.output)]


async def judge_reaping(main: Running) -> None:
    """A process without a parent is gone when it has ended."""
    left = await main.execute("sh", "-c", "sleep 1 >/dev/null 2>&1 & echo $!")
    orphan = f"/proc/{int(left.output)}"
    assert (await main.execute("test", "-e", orphan)).succeeded

    async def reaped() -> bool:
        return not (await main.execute("test", "-e", orphan)).succeeded

    await eventually("the orphan is reaped", reaped)


@asynccontextmanager
async def busy(main: Running) -> AsyncIterator[None]:
    """Two processes in a container that calculate without end."""
    forever = ("sh", "-c", "while :; do :; done")
    tasks = [asyncio.create_task(main.execute(*forever, timeout_s=600)) for _ in range(2)]
    try:
        yield
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def judge_answers(main: Running, recorded: Recorded) -> None:
    """One after the other, while the container has used up its share again and again."""
    probe = recorded.template.spec.containers[0].liveness_probe
    assert probe is not None
    assert probe.exec is not None
    throttled = main.figures().throttled
    for _ in range(8):
        answer = await main.execute(*probe.exec.command, timeout_s=float(probe.timeout_seconds))
        assert answer.succeeded, answer
    assert main.figures().throttled > throttled + 8
