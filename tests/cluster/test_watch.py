"""The watcher in the pod: the configuration comes live, the status goes to the cluster, and nobody
misses it while it or the API server is away."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.daemon import Site, build, eventually
from tests.support.netns import run
from tests.support.watcher import NODE, World
from vegd.lab.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.system


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


def _in_kernel(site: Site, text: str) -> bool:
    return text in run(site.gateway, "nft", "list", "ruleset").stdout


def _states(world: World) -> dict[str, str]:
    return {each["peer"]: each["state"] for each in world.entry().get("bfd", ())}


def test_a_change_is_in_the_kernel_without_a_new_process_and_the_status_says_so(
    world: World,
) -> None:
    site = world.site
    site.router_engine({"10.255.255.255": "192.168.0.2", "fdff::1": "fd00::2"})
    with site.daemon("run", "--followed"), world.watcher() as watcher:
        entry = world.until_entry(revision=1, state="ready")
        eventually(lambda: _states(world) == {"10.255.255.255": "Up", "fdff::1": "Up"}, "sessions")
        assert entry["node"] == NODE
        world.report_as("other", state="ready")
        revision = world.put(policies=_policy("192.168.7.0/24", "fd07::/64"))
        eventually(lambda: _in_kernel(site, "192.168.7.0"), "the kernel has the policy")
        world.until_entry(revision=revision)
        assert watcher.ends() == 0
        assert [each["pod"] for each in world.entries()] == ["other"]
