"""Events as kubectl shows them."""

from datetime import UTC, datetime, timedelta

from kube.client import Client
from kube.events import EVENTS, EventLog, Kind
from kube.objects import Metadata, Resource
from vegd.lab.cluster.control_plane import ControlPlane


async def test_kubectl_describes_an_object_with_its_counted_event(
    control_plane: ControlPlane, namespace: str
) -> None:
    maps = Resource("", "v1", "configmaps", "ConfigMap")
    log, now = EventLog("vegd", "pod1"), datetime.now(UTC)
    async with await Client.connect(control_plane.kubeconfig) as client:
        made = await client.create(maps, {"metadata": {"name": "one", "namespace": namespace}})
        about = Metadata("one", namespace, made["metadata"]["uid"])
        for minutes in range(5):
            moment = now - timedelta(minutes=5 - minutes)
            event = log.tell(maps, about, Kind.WARNING, "NoSubnet", "make it first", moment)
            assert event is not None
            await client.apply(EVENTS, event, manager="vegd")
    shown = control_plane.kubectl("describe", "configmap", "one", "-n", namespace).stdout
    (line,) = [each for each in shown.splitlines() if "NoSubnet" in each]
    assert "(x5 over " in line
    assert line.split()[-4:] == ["vegd", "make", "it", "first"]
