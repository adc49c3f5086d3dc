"""Gateway pods as our own controller writes them, run from the built image.

What the controller makes of a recorded resource is run as the recorded Deployment is
(tests/system/test_recorded_pods.py), in the world of the same addresses.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kube.configuration import Stamped, config_map, text_of
from kube.identity import KUBE_OVN
from kube.resolve import resolve
from kube.schema import EgressGateway, parse
from kube.workload import Workload, deployment
from tests.support import recorded as resources
from tests.support.image import Image
from tests.support.pods.pod import Pod, running
from tests.support.pods.recorded import Recorded, recordings
from tests.support.pods.world import World, world

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

_WITHIN_S = 150.0
_SLOWNESS = 10.0


def _workload(case: str, **spec: Any) -> Workload:
    resource = resources.gateways()[case]["resource"]
    changed = {**resource, "spec": resource["spec"] | spec}
    found = resolve(parse(EgressGateway, changed), resources.world(), "vegd").workload
    assert found is not None
    return found


def _files(workload: Workload) -> dict[str, str]:
    stamp = Stamped(1, text_of(workload))
    data: dict[str, str] = config_map(workload, KUBE_OVN, stamp)["data"]
    return data


def _ours(case: str) -> Recorded:
    """The recorded pod with our template in place of Kube-OVN's."""
    theirs = recordings()[f"master/{case}"]
    template = deployment(_workload(case), KUBE_OVN)["spec"]["template"]
    return replace(theirs, document=template)


async def _eventually(what: str, holds: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while not await holds():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.2)


async def _seen(place: World) -> dict[str, str | None]:
    return await asyncio.to_thread(place.seen, [*place.snat, *place.no_snat])


def _judge(place: World, pod: Pod) -> None:
    main = pod.container("gateway")
    assert main.condemned_by == []
    assert main.exits == [0], "it drains and ends by itself"
    figures = main.figures()
    assert figures.oom_kills == 0
    assert figures.memory_limit is not None
    assert figures.memory_peak < figures.memory_limit
    assert place.leaks() == 0


@pytest.mark.parametrize("case", ["custom-vpc-bfd/replicas-2", "default-vpc/replicas-1"])
async def test_our_own_pod_makes_the_gateway_and_keeps_it_until_it_has_drained(
    image: Image, tmp_path: Path, case: str
) -> None:
    ours, files = _ours(case), _files(_workload(case))
    # Whatever the router leads to the pod, it forwards what is listed only.
    sources = {"policies": [{"snat": True, "ipBlocks": ["0.0.0.0/0"]}]}
    everything = _files(_workload(case, **sources))
    with world([ours]) as place:
        namespace = place.namespace()
        run = running(ours.template, ours.facts, image, namespace, tmp_path / "pod", _SLOWNESS)
        async with run as pod:
            pod.volumes.write("configuration", files)
            await pod.start()
            await pod.ready(_WITHIN_S)
            if ours.environment["main"]:
                gateways = tuple(place.lab.topology.gateways)
                await asyncio.to_thread(place.lab.wait_up, gateways, _WITHIN_S)
            external = str(ours.external[0].ip)
            assert set((await _seen(place)).values()) == {None}, "no such source is listed"
            pod.volumes.write("configuration", everything)

            async def all_are_shown_as_the_pod() -> bool:
                return set((await _seen(place)).values()) == {external}

            await _eventually("the new policy is in force", all_are_shown_as_the_pod)
            assert pod.container("gateway").exits == [], "without a new process"
            await pod.stop()
            _judge(place, pod)
