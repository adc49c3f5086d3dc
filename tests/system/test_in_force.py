"""Commands that are given no configuration speak of the one that the gateway has."""

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.support.daemon import Site, build

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

OWN, BROUGHT = "192.168.7.0/24", "192.168.8.0/24"


@pytest.fixture
def site(netns: Callable[[str], str], tmp_path: Path) -> Site:
    """With a file of its own, and a newer one that a watcher has left."""
    site = build(netns, tmp_path)
    site.write(revision=1, policies=[{"name": "own", "ipBlocks": [OWN]}])
    site.runtime_dir.mkdir()
    newer = site.spec | {"revision": 2, "policies": [{"name": "brought", "ipBlocks": [BROUGHT]}]}
    (site.runtime_dir / "followed.yaml").write_text(yaml.safe_dump(newer))
    return site


def _says(site: Site, *arguments: str, status: int = 0) -> str:
    done = site.vegd(*arguments, "--runtime-dir", str(site.runtime_dir))
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def _packed(site: Site, name: str) -> dict[str, str]:
    bundle = site.directory / f"{name}.tar.gz"
    _says(site, "support-bundle", "-o", str(bundle))
    with tarfile.open(bundle) as tar:
        files = {Path(each.name).name: tar.extractfile(each) for each in tar.getmembers()}
        return {name: file.read().decode() for name, file in files.items() if file}


def test_what_the_watcher_brought_is_spoken_of_where_it_is_in_force(site: Site) -> None:
    with site.daemon("run", "--followed") as daemon:
        assert daemon.wait_for("ready")["revision"] == 2
        assert _says(site, "plan") == "nothing to change\n"
        assert "SNAT has no connection" in _says(site, "ports")
        assert _says(site, "flows") == "no such flow\n"
        policies = _says(site, "policies")
        assert "brought" in policies
        assert "own" not in policies
        assert "the kernel accepts the rules" in _says(site, "doctor")
        packed = _packed(site, "followed")
        assert BROUGHT in packed["configuration.yaml"]
        assert packed["plan.txt"] == "nothing to change\n"
        assert "brought" in packed["policies.txt"]
        # A file that is given is what is meant.
        assert "nft" in _says(site, "plan", "--config", str(site.config), status=1)
        own = _says(site, "policies", "--config", str(site.config), status=1)
        assert "own" in own
    # Of the two that are left the newer one is what the gateway would begin with.
    assert "brought" in _says(site, "policies")


def test_a_gateway_that_heeds_no_watcher_is_spoken_of_by_its_own_file(site: Site) -> None:
    with site.daemon("run") as daemon:
        assert daemon.wait_for("ready")["revision"] == 1
        assert _says(site, "plan") == "nothing to change\n"
        assert "own" in _says(site, "policies")
        assert OWN in _packed(site, "own")["configuration.yaml"]
