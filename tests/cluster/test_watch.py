"""The watcher in the pod: the configuration comes live, the status goes to the cluster, and nobody
misses it while it or the API server is away."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from bfd.fsm import State
from kube import definitions as shipped
from kube.client import Client
from tests.support.daemon import Daemon, Site, alive, build, eventually
from tests.support.definitions import as_kube_ovn_has_it, install
from tests.support.netns import run
from tests.support.tls_proxy import certificate, proxied
from tests.support.watcher import CONFIG_MAP, GATEWAY, NODE, POD, World, forwarded, rights
from vegd.lab.cluster.control_plane import ControlPlane, free_ports
from vegd.watching import watcher as watching
from vegd.watching.report import Place

pytestmark = pytest.mark.system

ROUTER = {"10.255.255.255": "192.168.0.2", "fdff::1": "fd00::2"}
UP = {"10.255.255.255": "Up", "fdff::1": "Up"}


@pytest.fixture
def site(netns: Callable[[str], str], tmp_path: Path) -> Iterator[Site]:
    site = build(netns, tmp_path)
    try:
        yield site
    finally:
        site.close()


@pytest.fixture
def world(control_plane: ControlPlane, definitions: None, namespace: str, site: Site) -> World:
    world = World(control_plane, namespace, site)
    world.create()
    return world


def _policy(*sources: str) -> list[dict[str, object]]:
    return [{"name": "vpc", "snat": True, "ipBlocks": [*sources]}]


def _until_in_kernel(site: Site, text: str) -> None:
    eventually(
        lambda: text in run(site.gateway, "nft", "list", "ruleset").stdout,
        f"{text} is in the kernel",
        within_s=90,
    )


def _states(world: World) -> dict[str, str]:
    return {each["peer"]: each["state"] for each in world.entry().get("bfd", ())}


def _until_up(site: Site) -> None:
    site.router_engine(ROUTER, interval_ms=300, multiplier=10)
    eventually(
        lambda: [each["state"] for each in site.sessions()] == [State.UP] * 2, "the sessions are Up"
    )


# What comes, and what goes ------------------------------------------------------------------------


def test_a_change_is_in_the_kernel_without_a_new_process_and_the_status_says_so(
    world: World,
) -> None:
    site = world.site
    site.router_engine(ROUTER)
    with site.daemon("run", "--followed"), world.watcher() as watcher:
        entry = world.until_entry(revision=1, state="ready")
        assert (entry["node"], entry["externalIPs"]) == (NODE, ["172.17.0.11", "fd17::11"])
        eventually(lambda: _states(world) == UP, "the sessions are reported as Up")
        world.report_as("other", state="ready")
        engine = (site.status() or {})["engine"]["pid"]
        revision = world.put(policies=_policy("192.168.7.0/24", "fd07::/64"))
        _until_in_kernel(site, "192.168.7.0")
        world.until_entry(revision=revision)
        assert (site.status() or {})["engine"]["pid"] == engine
        site.page("/v1/drain", "POST")
        world.until_entry(draining=True, state="draining")
        assert watcher.ends() == 0
        assert [each["pod"] for each in world.entries()] == ["other"]


def test_faults_are_reported_and_the_last_good_configuration_outlives_a_restart(
    world: World,
) -> None:
    site = world.site
    with world.watcher() as watcher:
        with site.daemon("run", "--followed"):
            revision = world.put(policies=_policy("192.168.7.0/24"))
            world.until_entry(revision=revision, state="ready")
            world.put_text("policies: 7\n")
            what = f"ConfigMap {CONFIG_MAP} has faults; the last good version is in force"
            entry = world.until_entry(what, revision=revision)
            assert any("internal: is missing" in each for each in entry["reasons"])
        # Its configuration is of before, and what the watcher has left is still the newer one.
        with site.daemon("run", "--followed") as daemon:
            assert daemon.wait_for("ready")["revision"] == revision
            assert watcher.process.poll() is None
            revision = world.put(policies=_policy("192.168.8.0/24"))
            world.until_entry(revision=revision, reasons=[])
        world.until_entry(state="unknown")
        world.plane.request(
            "DELETE", f"/api/v1/namespaces/{world.namespace}/configmaps/{CONFIG_MAP}"
        )
        watcher.until_log("has gone; what it had stays in force")
    newer = world.put(policies=_policy("192.168.9.0/24"))
    with site.daemon("run", "--followed") as daemon:
        assert daemon.wait_for("ready")["revision"] == revision
        with world.watcher():
            world.until_entry(revision=newer, state="ready")


# The API server -----------------------------------------------------------------------------------


async def test_its_rights_suffice_and_each_is_used_and_a_lost_entry_comes_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_COMPARE_S", (0.0, 1.0))
    order = watching.Order(
        namespace=world.namespace,
        config_map=CONFIG_MAP,
        gateway=GATEWAY,
        group=world.resource.group,
        place=Place(POD, NODE),
        runtime_dir=world.site.runtime_dir,
    )
    world.site.runtime_dir.mkdir()
    async with await Client.connect(world.kubeconfig) as client:
        task = asyncio.create_task(watching.Watcher(client, order).run())
        for _ in range(2):
            await asyncio.to_thread(world.until_entry, state="unknown")
            await asyncio.to_thread(world.report, f"vegd-watch/{POD}", [])
        await asyncio.to_thread(world.until_entry, state="unknown")
        task.cancel()
    used, refused = set(), []
    for event in world.plane.requests_of(world.user):
        place = event["objectRef"]
        resource = "/".join(filter(None, (place["resource"], place.get("subresource"))))
        used.add((place.get("apiGroup", ""), resource, place["name"], event["verb"]))
        if event["responseStatus"]["code"] >= 400:
            refused.append(event)
    granted = {
        (rule["apiGroups"][0], rule["resources"][0], rule["resourceNames"][0], verb)
        for rule in rights(world.resource)
        for verb in rule["verbs"]
    }
    assert used == granted
    assert refused == []


@pytest.mark.parametrize("missing", ["status.gateways", "revision"])
def test_a_definition_that_knows_less_gets_what_it_knows_and_that_is_told_once(
    control_plane: ControlPlane, namespace: str, site: Site, missing: str
) -> None:
    group = f"{missing.partition('.')[0]}.example"
    definition = shipped.gateway_definition(group)
    if missing == "status.gateways":
        definition = as_kube_ovn_has_it(definition)
    else:
        schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        items = schema["properties"]["status"]["properties"]["gateways"]["items"]
        del items["properties"][missing]
    install(control_plane, [definition])
    world = World(control_plane, namespace, site, shipped.gateways(group))
    world.create()
    with site.daemon("run", "--followed") as daemon, world.watcher() as watcher:
        if missing == "revision":
            assert missing not in world.until_entry(state="ready")
            watcher.until_log("knows no status.gateways[].revision")
        else:
            watcher.until_log("has no status.gateways, so nothing is reported")
        world.put(policies=_policy("192.168.7.0/24"))
        _until_in_kernel(site, "192.168.7.0")
        daemon.wait_for("ready")
    assert watcher.log.read_text().count("apply that of this version") == 1


@contextlib.contextmanager
def _in_a_pod(world: World, place: Path, host: str, port: int) -> Iterator[Path]:
    """A watcher whose credentials are in a folder, as a kubelet makes it; its log."""
    # The minute between two readings of the token is shortened.
    code = (
        "import datetime, sys; import kube.credentials; "
        "from kubernetes_asyncio.config import incluster_config; "
        "incluster_config.TOKEN_REFRESH_PERIOD = datetime.timedelta(seconds=1); "
        "from vegd.cli.watch import main; main(sys.argv[1:])"
    )
    # In a mount namespace of its own the folder is where it is in a pod.
    script = (
        'mount -t tmpfs none /run && mkdir -p "${0%/*}" && ln -s "$1" "$0" && shift && exec "$@"'
    )
    environ = world.environ | {
        "KUBERNETES_SERVICE_HOST": host,
        "KUBERNETES_SERVICE_PORT": str(port),
    }
    command = [sys.executable, "-c", code, f"--runtime-dir={world.site.runtime_dir}"]
    log = place / "watch.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [
                *("unshare", "--mount", "setpriv", "--pdeathsig", "KILL"),
                *("sh", "-c", script, "/run/secrets/kubernetes.io/serviceaccount"),
                *(str(place), *command),
            ],
            stdout=output,
            stderr=output,
            env={**os.environ, **environ},
        )
        try:
            yield log
        finally:
            process.kill()
            process.wait(5)


def _exchange(file: Path, content: bytes) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.rename(file)


def test_a_token_that_is_exchanged_is_taken_up(world: World, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(world.token())
    (tmp_path / "ca.crt").write_bytes(world.plane.ca.read_bytes())
    address = urlsplit(world.plane.url)
    with (
        world.site.daemon("run", "--followed"),
        _in_a_pod(world, tmp_path, str(address.hostname), int(address.port or 0)) as log,
    ):
        world.until_entry(revision=1, state="ready")
        # Another account of the same name: the tokens of before are worth nothing.
        world.renew_account()
        while "Unauthorized" not in log.read_text():
            revision = world.put()
            time.sleep(2)
        _exchange(tmp_path / "token", world.token().encode())
        world.until_entry(revision=revision)


def test_a_clusters_certificate_that_is_exchanged_is_taken_up(world: World, tmp_path: Path) -> None:
    old, new = tmp_path / "old.pem", tmp_path / "new.pem"
    (tmp_path / "token").write_text(world.token())
    (tmp_path / "ca.crt").write_bytes(certificate(old))
    successor, port = certificate(new), free_ports(1)[0]
    with (
        world.site.daemon("run", "--followed"),
        _in_a_pod(world, tmp_path, "127.0.0.1", port) as log,
    ):
        with proxied(world.plane, port, old):
            world.until_entry(revision=1, state="ready")
        with proxied(world.plane, port, new):
            revision = world.put()
            eventually(
                lambda: "CERTIFICATE_VERIFY_FAILED" in log.read_text(), "it believes the old one"
            )
            _exchange(tmp_path / "ca.crt", successor)
            world.until_entry(revision=revision)
        # What was believed before is not any more.
        seen = log.read_text().count("CERTIFICATE_VERIFY_FAILED")
        with proxied(world.plane, port, old):
            eventually(
                lambda: log.read_text().count("CERTIFICATE_VERIFY_FAILED") > seen, "and only that"
            )


# A child of the gateway ---------------------------------------------------------------------------


def _child(daemon: Daemon) -> int:
    """The watcher's process; 0 while there is none."""
    found = subprocess.run(
        ["pgrep", "--parent", str(daemon.process.pid), "--full", "vegd watch"],
        capture_output=True,
        text=True,
        check=False,
    )
    return int(found.stdout.split()[0]) if found.stdout else 0


def _calm(site: Site) -> list[Any]:
    """What must not change while the watcher or the API server is away."""
    status = site.status() or {}
    sessions = [(each["state"], each["transitions"]) for each in site.sessions()]
    return [status["state"], status["revision"], status["engine"]["pid"], sessions]


def test_nobody_misses_the_watcher_or_the_api_server(world: World) -> None:
    site, plane = world.site, world.plane
    # Slower than a busy machine pauses: what goes down does so because of what is tried here.
    site.write(bfd=site.spec["bfd"] | {"minTX": 300, "minRX": 300, "multiplier": 10})
    revision = world.put()
    with (
        forwarded(site.gateway, plane.url),
        site.daemon("run", "--kube", environ=world.environ) as daemon,
    ):
        daemon.wait_for("ready")
        _until_up(site)
        world.until_entry(revision=revision, state="ready")
        log = daemon.log.read_text()
        assert log.index("the gateway is ready") < log.index("vegd.watching.watcher")
        before = _calm(site)
        # It is killed: a line of the log, and the next one.
        first = _child(daemon)
        os.kill(first, signal.SIGKILL)
        eventually(lambda: _child(daemon) not in (0, first), "the next watcher", within_s=90)
        assert "the watcher was killed by signal 9" in daemon.log.read_text()
        assert _calm(site) == before
        # It stands still: the agent answers all the same.
        os.kill(_child(daemon), signal.SIGSTOP)
        assert _calm(site) == before
        os.kill(_child(daemon), signal.SIGCONT)
        # The API server does.
        with plane.frozen_api_server():
            eventually(lambda: _contact_s(site) > 5, "it is seen how old the contact is")
            assert _calm(site) == before
        plane.stop_api_server()
        watcher = _child(daemon)
        eventually(lambda: "again in" in daemon.log.read_text(), "the log tells it", within_s=90)
        # The gateway's own file is followed as ever.
        site.write(revision=50, policies=_policy("192.168.7.0/24"))
        _until_in_kernel(site, "192.168.7.0")
        eventually(lambda: _calm(site)[1] == 50, "it is carried out")
        assert _calm(site) == [before[0], 50, *before[2:]]
        plane.start_api_server()
        world.revision = 50
        revision = world.put(policies=_policy("192.168.8.0/24"))
        world.until_entry(revision=revision, state="ready")
        assert _child(daemon) == watcher
        assert _calm(site) == [before[0], revision, *before[2:]]
        # A killed agent: its watcher goes by itself, and the next one finds everything.
        daemon.kill()
        eventually(lambda: not alive(watcher), "the watcher has gone", within_s=90)
        with site.daemon("run", "--kube", environ=world.environ) as successor:
            assert successor.wait_for("ready")["revision"] == revision
            # The entry of before is there still; this one is the new watcher's.
            world.until_entry(revision=world.put(), state="ready")
            successor.process.send_signal(signal.SIGTERM)
            assert successor.ends() == 0
        assert world.entries() == []


def _contact_s(site: Site) -> float:
    return float((site.status() or {}).get("watcherContactS") or 0)
