"""The client and the mirrors against a real API server, well and unwell."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from kube.client import Call, Client
from kube.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    Throttled,
    Unconfigured,
    Unreachable,
)
from kube.informer import Change, Deleted, Mirror, Synced, Upserted, follow
from kube.objects import NAMESPACES, Happened, Query, Resource
from tests.support.throttle import reject_everything_of_nobody
from vegd.cluster.following import Follower, Pace, all_synced
from vegd.lab.cluster.control_plane import NOBODY, ControlPlane

MAPS = Resource("", "v1", "configmaps", "ConfigMap")
_LIMIT_S = 200


@pytest.fixture
async def client(control_plane: ControlPlane) -> AsyncIterator[Client]:
    async with await Client.connect(control_plane.kubeconfig) as client:
        yield client


def _map(namespace: str, name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": name}, "data": data}


class _Data(msgspec.Struct):
    data: dict[str, str] = {}


async def test_an_object_is_made_read_changed_and_deleted(client: Client, namespace: str) -> None:
    made = await client.create(MAPS, _map(namespace, "one", a="1"))
    with pytest.raises(AlreadyExists):
        await client.create(MAPS, _map(namespace, "one"))
    await client.replace(MAPS, made | {"data": {"a": "2"}})
    with pytest.raises(Conflict):
        await client.replace(MAPS, made | {"data": {"a": "3"}})
    assert (await client.get(MAPS, "one", namespace))["data"] == {"a": "2"}
    with pytest.raises(Conflict):
        await client.delete(MAPS, "one", namespace, uid="another")
    await client.delete(MAPS, "one", namespace, uid=made["metadata"]["uid"])
    with pytest.raises(NotFound) as missing:
        await client.get(MAPS, "one", namespace)
    assert f"GET /api/v1/namespaces/{namespace}/configmaps/one: " in str(missing.value)


async def test_apply_leaves_what_belongs_to_others_and_takes_back_what_was_ours(
    client: Client, namespace: str
) -> None:
    await client.apply(MAPS, _map(namespace, "one", ours="1", gone="1"), manager="us")
    await client.apply(MAPS, _map(namespace, "one", theirs="1"), manager="them")
    found = await client.apply(MAPS, _map(namespace, "one", ours="2"), manager="us")
    assert found["data"] == {"ours": "2", "theirs": "1"}


async def test_what_is_wrong_with_an_object_is_told_by_its_fields(
    client: Client, namespace: str
) -> None:
    with pytest.raises(Invalid) as wrong:
        await client.create(MAPS, _map(namespace, "A", **{"b c": ""}))
    assert [each.field for each in wrong.value.causes] == ["metadata.name", "data[b c]"]
    assert not wrong.value.is_temporary


async def test_an_object_of_another_shape_is_apart_and_hides_no_other(
    client: Client, namespace: str
) -> None:
    class Numbers(msgspec.Struct):
        data: dict[str, int] = {}

    query = Query(MAPS, namespace)
    version = (await client.list(query, dict)).resource_version
    await client.create(MAPS, _map(namespace, "one", a="1"))
    await client.create(MAPS, _map(namespace, "two"))
    listing = await client.list(query, Numbers)
    assert "two" in [each.metadata.name for each in listing.items]
    (unfit,) = [each for each in listing.unfit if each.metadata.name == "one"]
    assert "Expected `int`, got `str` - at `$.data" in unfit.why
    told = []
    async for notice in client.watch(query, Numbers, version, 60):
        told.append((notice.item.metadata.name, notice.item.value is None, bool(notice.why)))
        if len(told) == 2:
            break
    assert told == [("one", True, True), ("two", False, False)]


async def test_who_may_not_is_told_so(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    file = control_plane.write_kubeconfig(tmp_path / "nobody", NOBODY)
    async with await Client.connect(file) as nobody:
        with pytest.raises(Forbidden, match='cannot list resource "configmaps"'):
            await nobody.list(Query(MAPS, namespace), dict)
        with pytest.raises(Forbidden, match='cannot watch resource "configmaps"'):
            await anext(aiter(nobody.watch(Query(MAPS, namespace), dict, "", 10)))
        assert nobody.calls == {
            Call("GET", "configmaps", 403): 1,
            Call("WATCH", "configmaps", 403): 1,
        }
    file = control_plane.write_kubeconfig(tmp_path / "stranger", "no-such-token")
    async with await Client.connect(file) as stranger:
        with pytest.raises(Forbidden):
            await stranger.get(NAMESPACES, "default")


async def test_without_credentials_the_place_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unconfigured, match=str(tmp_path / "none")):
        await Client.connect(tmp_path / "none")
    (tmp_path / "broken").write_text("[")
    with pytest.raises(Unconfigured, match="broken"):
        await Client.connect(tmp_path / "broken")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    with pytest.raises(Unconfigured, match="service account"):
        await Client.connect()


async def test_a_list_of_many_pages_is_whole(client: Client, namespace: str) -> None:
    names = [f"m{number:04}" for number in range(1100)]
    for begin in range(0, len(names), 50):
        await asyncio.gather(
            *(client.create(MAPS, _map(namespace, name)) for name in names[begin : begin + 50])
        )
    listing = await client.list(Query(MAPS, namespace, fields="metadata.name!=m0007"), _Data)
    assert [item.metadata.name for item in listing.items if item.metadata.name[0] == "m"] == (
        names[:7] + names[8:]
    )


async def test_a_client_that_is_throttled_hears_how_long_to_wait(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    file = control_plane.write_kubeconfig(tmp_path / "nobody", NOBODY)
    async with await Client.connect(file) as nobody:
        with reject_everything_of_nobody(control_plane), pytest.raises(Throttled) as throttled:
            await nobody.get(NAMESPACES, "default")
        assert nobody.calls == {Call("GET", "namespaces", 429): 1}
    assert throttled.value.is_temporary
    assert throttled.value.retry_after_s >= 1


async def test_an_api_server_that_hangs_is_given_up(
    control_plane: ControlPlane, namespace: str
) -> None:
    async with await Client.connect(control_plane.kubeconfig, timeout_s=1) as client:
        with control_plane.frozen_api_server():
            with pytest.raises(Unreachable, match="GET /api/v1/namespaces/"):
                await client.get(NAMESPACES, namespace)
            with pytest.raises(Unreachable):
                await anext(aiter(client.watch(Query(NAMESPACES), dict, "", 10)))
        assert (await client.get(NAMESPACES, namespace))["metadata"]["name"] == namespace


async def test_a_version_that_is_too_old_is_gone(
    control_plane: ControlPlane, client: Client, namespace: str
) -> None:
    old = (await client.list(Query(MAPS, namespace), dict)).resource_version
    await client.create(MAPS, _map(namespace, "one"))
    control_plane.compact()
    control_plane.stop_api_server()
    with pytest.raises(Unreachable):
        await client.get(NAMESPACES, namespace)
    control_plane.start_api_server()
    mirror: Mirror[dict[str, Any]] = Mirror()
    mirror.resource_version = old
    with pytest.raises(Gone):
        await follow(client, Query(MAPS, namespace), dict, mirror, lambda _: None, 10)
    assert mirror.resource_version == ""
    await follow(client, Query(MAPS, namespace), dict, mirror, lambda _: None, 1)
    assert f"{namespace}/one" in mirror.items


async def test_a_watch_hears_how_far_it_is_where_nothing_happens(
    client: Client, namespace: str
) -> None:
    # The API server tells it shortly before the end of the time that it was asked for.
    query = Query(MAPS, namespace, labels="there-is=none")
    version = (await client.list(query, dict)).resource_version
    await client.create(MAPS, _map(namespace, "one"))
    told = [each async for each in client.watch(query, dict, version, 8)]
    assert {each.happened for each in told} == {Happened.BOOKMARK}
    assert told[-1].item.value is None
    mirror: Mirror[dict[str, Any]] = Mirror()
    assert [change for each in told for change in mirror.told(each)] == []
    assert int(mirror.resource_version) > int(version)


async def test_a_mirror_follows_through_a_restart_of_the_api_server(
    control_plane: ControlPlane, client: Client, namespace: str
) -> None:
    changes: asyncio.Queue[Any] = asyncio.Queue()
    follower = Follower(client, Query(MAPS, namespace), _Data, changes.put_nowait)

    async def until(kind: type, name: str = "") -> Any:
        while True:
            change = await changes.get()
            if isinstance(change, kind) and (not name or change.item.metadata.name == name):
                return change

    async with asyncio.timeout(_LIMIT_S):
        task = asyncio.create_task(follower.run())
        await until(Synced)
        await client.create(MAPS, _map(namespace, "one", a="1"))
        assert (await until(Upserted, "one")).before is None
        await client.apply(MAPS, _map(namespace, "one", a="2"), manager="us")
        changed = await until(Upserted, "one")
        assert (changed.before.value.data, changed.item.value.data) == ({"a": "1"}, {"a": "2"})
        control_plane.stop_api_server()
        while not follower.trouble:
            await asyncio.sleep(0.05)
        control_plane.start_api_server()
        await client.create(MAPS, _map(namespace, "two"))
        await until(Upserted, "two")
        assert follower.trouble == ""
        await client.delete(MAPS, "one", namespace)
        await until(Deleted, "one")
        task.cancel()
    assert f"{namespace}/two" in follower.mirror.items
    assert f"{namespace}/one" not in follower.mirror.items


async def test_a_watch_that_has_died_in_silence_is_begun_again(
    control_plane: ControlPlane, namespace: str
) -> None:
    synced, found = asyncio.Event(), asyncio.Event()

    def told(change: Change[_Data]) -> None:
        (synced if isinstance(change, Synced) else found).set()

    async with await Client.connect(control_plane.kubeconfig, silence_s=2) as client:
        follower = Follower(client, Query(MAPS, namespace, labels="a=b"), _Data, told)
        task = asyncio.create_task(follower.run())
        async with asyncio.timeout(_LIMIT_S):
            await synced.wait()
            while not follower.failures:
                await asyncio.sleep(0.05)
            labelled = {"metadata": {"name": "one", "namespace": namespace, "labels": {"a": "b"}}}
            await client.create(MAPS, labelled)
            await found.wait()
        task.cancel()
        assert follower.mirror.lists == 1


async def test_what_is_forbidden_is_followed_once_it_is_allowed(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    file = control_plane.write_kubeconfig(tmp_path / "nobody", NOBODY)
    async with await Client.connect(file) as nobody:
        follower = Follower(nobody, Query(MAPS, namespace), _Data, lambda _: None)
        task = asyncio.create_task(follower.run())
        async with asyncio.timeout(_LIMIT_S):
            while not follower.trouble:
                await asyncio.sleep(0.05)
            assert 'User "nobody" cannot list resource "configmaps"' in follower.trouble
            assert not follower.mirror.is_synced
            control_plane.kubectl(
                "create",
                "rolebinding",
                "seer",
                "--clusterrole=view",
                "--user=nobody",
                "-n",
                namespace,
            )
            await all_synced(follower)
        assert follower.trouble == ""
        task.cancel()


async def test_now_and_then_everything_is_compared_and_only_differences_are_told(
    client: Client, namespace: str
) -> None:
    told: list[str] = []
    await client.create(MAPS, _map(namespace, "one"))
    query = Query(MAPS, namespace, fields="metadata.name=one")
    pace = Pace(watch_s=(1, 1), compare_s=(0.5, 1))
    follower = Follower(
        client, query, _Data, lambda change: told.append(type(change).__name__), pace=pace
    )
    task = asyncio.create_task(follower.run())
    async with asyncio.timeout(_LIMIT_S):
        while follower.mirror.lists < 3:
            await asyncio.sleep(0.05)
    task.cancel()
    assert (told, follower.failures) == (["Upserted", *["Synced"] * 3], 0)


def test_in_a_pod_the_client_is_the_pods_service_account(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    # A mount namespace of its own has the folder that a kubelet makes.
    account = control_plane.kubectl("create", "serviceaccount", "egress", "-n", namespace)
    assert account.returncode == 0, account.stderr
    token = control_plane.kubectl("create", "token", "egress", "-n", namespace).stdout.strip()
    (tmp_path / "token").write_text(token)
    (tmp_path / "ca.crt").write_bytes(control_plane.ca.read_bytes())
    place = "/run/secrets/kubernetes.io/serviceaccount"
    code = f"""if True:
        import asyncio
        from kube.client import Client
        from kube.objects import PODS, Query
        async def main():
            async with await Client.connect() as client:
                await client.list(Query(PODS, {namespace!r}), dict)
        asyncio.run(main())"""
    address = urlsplit(control_plane.url)
    script = 'mount -t tmpfs none /run && mkdir -p "$0" && cp "$1"/* "$0" && "$2" -c "$3"'
    arguments = [place, str(tmp_path), sys.executable, code]
    environment = {
        "KUBERNETES_SERVICE_HOST": str(address.hostname),
        "KUBERNETES_SERVICE_PORT": str(address.port),
    }
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    who = f"system:serviceaccount:{namespace}:egress"
    assert f'User "{who}" cannot list resource "pods"' in done.stderr
    assert "kube.errors.Forbidden" in done.stderr.splitlines()[-1]
