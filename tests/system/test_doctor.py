"""`vegd doctor` on machines that lack one thing each."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bfd.client import Client
from tests.support.bfd_process import engine_in
from tests.support.daemon import Site, build
from tests.support.dataplane import inside_thread
from tests.support.netns import inside, ip, run
from vegd.cli.app import app

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]


@pytest.fixture
def site(netns: Callable[[str], str], tmp_path: Path) -> Iterator[Site]:
    built = build(netns, tmp_path)
    # So that its gateways can be asked without a daemon.
    ip("address", "add", "192.168.0.2/24", "dev", "eth0", ns=built.gateway)
    ip("address", "add", "fd00::2/64", "dev", "eth0", "nodad", ns=built.gateway)
    yield built
    built.close()


def _doctor(site: Site, *options: str) -> tuple[int, str]:
    # In a thread inside the namespace; programs that it starts are inside as well.
    command = ["doctor", "--config", str(site.config), *options]
    done = inside_thread(site.gateway, lambda: CliRunner().invoke(app, command))
    return done.exit_code, done.output


def _problems(site: Site) -> list[dict[str, Any]]:
    _, said = _doctor(site, "--json")
    return [each for each in json.loads(said) if each["level"] != "fine"]


def test_a_sound_machine_has_no_problem_and_stays_as_it_is(site: Site) -> None:
    before = site.footprint()
    code, said = _doctor(site)
    assert code == 0, said
    assert "fine: nftables: the kernel accepts the rules" in said
    assert "fine: neighbour: the gateway 192.168.0.1 answers on eth0" in said
    assert "fine: neighbour: the gateway fd00::1 answers on eth0" in said
    assert site.footprint() == before


def test_each_problem_is_found_with_a_remedy(site: Site) -> None:
    run(site.gateway, "nft", "add table ip other")
    chain = "{ type filter hook forward priority 0; policy drop; }"
    run(site.gateway, "nft", f"add chain ip other block {chain}")
    chain = "{ type nat hook postrouting priority 90; }"
    run(site.gateway, "nft", f"add chain ip other post {chain}")
    run(site.gateway, "nft", "add rule ip other post masquerade")
    ip("rule", "add", "priority", "500", "lookup", "77", ns=site.gateway)
    ip("address", "del", "192.168.0.1/24", "dev", "gw", ns=site.router)
    found = _problems(site)
    assert all(each["remedy"] for each in found)
    said: dict[str, list[str]] = {each["about"]: [] for each in found}
    for each in found:
        said[each["about"]].append(f"{each['level']}: {each['text']}")
    drops, translates = said["nftables"]
    assert drops.startswith("problem: chain block of table ip other drops by policy at forward")
    assert translates.startswith("warning: chain post of table ip other translates sources too")
    assert said["rules"][0].startswith("warning: rule 500 (lookup 77) is somebody else's")
    assert said["neighbour"][0].startswith(
        "problem: the gateway 192.168.0.1 does not answer on eth0"
    )
    assert _doctor(site)[0] == 1


async def test_the_engine_that_runs_is_looked_at_not_the_command(
    site: Site, tmp_path: Path
) -> None:
    def enter(ns: str, *command: str) -> list[str]:
        return inside(ns, "setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice", *command)

    directory = tmp_path / "engine"
    async with engine_in(site.gateway, directory, enter=enter) as engine:
        _, said = await asyncio.to_thread(_doctor, site, "--runtime-dir", str(directory))
        async with Client(engine.path) as client:
            pid = client.pid
    assert f"the BFD engine (process {pid}) has no CAP_SYS_NICE" in said
    assert "CAP_IPC_LOCK" not in said
    assert "CAP_SYS_NICE" not in _doctor(site, "--runtime-dir", str(tmp_path / "none"))[1]


def test_what_is_waited_for_is_a_problem(site: Site) -> None:
    ip("link", "del", "ext0", ns=site.gateway)
    code, said = _doctor(site)
    assert code == 1
    assert (
        "problem: configuration: the macvlan parent ext0 of net1 does not exist yet\n    -> "
        in said
    )
