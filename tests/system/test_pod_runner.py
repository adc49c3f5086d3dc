"""The runner of pods does what a kubelet and containerd would: without that, what the recorded pods
show is worth nothing. Containers of the built image, with templates written here."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.image import Image
from tests.support.pods.oci import Refused
from tests.support.pods.pod import Failed, running
from vegd.lab.cluster.facts import PodFacts
from vegd.lab.cluster.template import PodTemplate

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

Netns = Callable[[str], str]

_FACTS = PodFacts("pod-1", "node-1", ("10.0.0.1", "fd00::1"), annotations={"a/b": "told"})
_NOBODY = {"runAsUser": 65534, "capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]}}
_NET_RAW = f"{1 << 13:016x}"
"""As /proc/PID/status shows it."""
_WITHIN_S = 100.0


def script(name: str, text: str, **more: Any) -> dict[str, Any]:
    """A container that runs a script."""
    return {"name": name, "command": ["sh", "-ec", text], **more}


def fields(status: str) -> dict[str, str]:
    """What /proc/PID/status says."""
    return dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


class Kubelet:
    """Runs templates in a namespace."""

    def __init__(self, image: Image, ns: str, directory: Path) -> None:
        self.image, self.ns, self.directory = image, ns, directory

    def pod(self, **spec: Any) -> Any:
        """An asynchronous context manager, as of `running`."""
        template = PodTemplate.parse({"spec": spec})
        return running(template, _FACTS, self.image, self.ns, self.directory / "pod", 10.0)


@pytest.fixture
def kubelet(image: Image, netns: Netns, tmp_path: Path) -> Kubelet:
    return Kubelet(image, netns("pod"), tmp_path)


async def test_what_a_container_may(kubelet: Kubelet) -> None:
    """Privileged it may all; as another user it has lost what it was given, unless a file of the
    image gives it back."""
    read = "cat /proc/self/status; echo 1 >/proc/sys/net/ipv4/ip_forward"
    async with kubelet.pod(
        initContainers=[script("init", read, securityContext={"privileged": True})],
        containers=[
            script("main", "sleep infinity", securityContext=_NOBODY),
            script(
                "closed",
                "sleep infinity",
                securityContext={
                    **_NOBODY,
                    "readOnlyRootFilesystem": True,
                    "allowPrivilegeEscalation": False,
                },
            ),
        ],
        securityContext={"seccompProfile": {"type": "RuntimeDefault"}},
    ) as pod:
        await pod.start()
        init = fields(pod.container("init").log())
        assert (init["Seccomp"], init["CapEff"]) == ("0", init["CapBnd"])
        main = pod.container("main")
        mine = fields((await main.execute("cat", "/proc/self/status")).output)
        assert (mine["Uid"], mine["Gid"]) == ("\t".join(["65534"] * 4),) * 2
        assert mine["CapBnd"] == _NET_RAW
        assert {mine[each] for each in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {"0" * 16}
        assert (mine["Seccomp"], mine["NoNewPrivs"]) == ("2", "0")
        status = "print(open('/proc/self/status').read())"
        kept = fields((await main.execute("python3", "-c", status)).output)
        assert kept["CapEff"] == _NET_RAW
        for refused in ("unshare -U true", "echo 0 >/proc/sys/net/ipv4/ip_forward"):
            assert (await main.execute("sh", "-c", refused)).status, refused
        assert (await main.execute("touch", "/run/vegd/here")).succeeded
        closed = pod.container("closed")
        assert not (await closed.execute("touch", "/run/vegd/here")).succeeded
        assert fields((await closed.execute("cat", "/proc/1/status")).output)["NoNewPrivs"] == "1"


async def test_environment_volumes_and_limits(kubelet: Kubelet) -> None:
    env = [
        {"name": "IPS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "EMPTY"},
    ]
    item = {"path": "told", "fieldRef": {"fieldPath": "metadata.annotations['a/b']"}}
    mounts = [{"name": "config", "mountPath": "/config"}, {"name": "info", "mountPath": "/info"}]
    shared = [{"name": "shared", "mountPath": "/shared"}]
    greedy = "python3 -c 'bytearray(200 << 20)' || echo killed; sleep infinity"
    async with kubelet.pod(
        initContainers=[script("init", "echo from-init >/shared/file", volumeMounts=shared)],
        containers=[
            script(
                "main",
                greedy,
                env=env,
                volumeMounts=mounts + shared,
                securityContext=_NOBODY,
                resources={"limits": {"memory": "64Mi", "cpu": "1500m"}},
            )
        ],
        volumes=[
            {"name": "config", "configMap": {"name": "any"}},
            {"name": "info", "downwardAPI": {"items": [item]}},
            {"name": "shared", "emptyDir": {}},
        ],
    ) as pod:
        pod.volumes.write("config", {"key": "old"})
        await pod.start()
        main = pod.container("main")
        tell = "echo $HOSTNAME $IPS $NODE [$EMPTY]; cat /shared/file /info/told /config/key"
        said = await main.execute("sh", "-c", tell)
        assert said.output == "pod-1 10.0.0.1,fd00::1 node-1 []\nfrom-init\ntoldold"
        pod.volumes.write("config", {"key": "new"})
        assert (await main.execute("cat", "/config/key")).output == "new"
        await until(lambda: "killed" in main.log())
        figures = main.figures()
        assert (figures.memory_limit, figures.oom_kills) == (64 << 20, 1)


async def test_probes_restarts_and_the_end(kubelet: Kubelet) -> None:
    """Not ready before the startup probe has succeeded, not ready while one says so, killed when
    liveness has failed as often as allowed, and started again."""

    def asks(file: str, **more: int) -> dict[str, Any]:
        command = ["test", "-e", f"/run/vegd/{file}"]
        return {"exec": {"command": command}, "periodSeconds": 1, **more}

    patient = "trap 'echo leaving; exit 3' TERM; echo begun; while :; do sleep 0.1; done"
    async with kubelet.pod(
        initContainers=[script("side", patient, restartPolicy="Always")],
        containers=[
            script(
                "main",
                patient,
                securityContext=_NOBODY,
                startupProbe=asks("started", failureThreshold=100),
                readinessProbe=asks("ready", failureThreshold=1),
                livenessProbe=asks("started", failureThreshold=2),
            )
        ],
        terminationGracePeriodSeconds=60,
    ) as pod:
        await pod.start()
        main = pod.container("main")
        await until(lambda: main.record.asked["startup"] >= 2)
        assert not main.record.asked["readiness"]
        await main.execute("touch", "/run/vegd/started")
        await until(lambda: main.record.failed["readiness"] >= 1)
        assert not pod.is_ready
        await main.execute("touch", "/run/vegd/ready")
        await pod.ready(_WITHIN_S)
        await main.execute("rm", "/run/vegd/started")
        await until(lambda: main.exits == [3])
        assert main.condemned_by == ["liveness"]
        await until(lambda: main.log().count("begun") == 2)
        await pod.stop()
        assert main.exits == [3, 3]
        assert pod.container("side").exits == [3]


async def test_what_is_not_started(kubelet: Kubelet) -> None:
    root = script("main", "true", securityContext={"runAsNonRoot": True})
    async with kubelet.pod(containers=[root]) as pod:
        with pytest.raises(Refused, match="runAsNonRoot"):
            await pod.start()


async def test_an_init_container_that_fails_ends_it(kubelet: Kubelet) -> None:
    async with kubelet.pod(
        initContainers=[script("init", "echo the reason; exit 7")],
        containers=[script("main", "sleep infinity")],
    ) as pod:
        with pytest.raises(Failed, match="init ended with 7: the reason"):
            await pod.start()
