"""The lab and the demo as their user sees them: whole runs, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import PYTHON, eventually

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

SCENES = ["up", "reach", "cut", "heal", "upstream", "upstream back", "drain", "return"]


def _lab(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PYTHON, "lab", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def _namespaces(prefix: str) -> list[str]:
    listed = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if line.startswith(f"{prefix}-")]


def _is_gone(prefix: str) -> bool:
    return not _namespaces(prefix) and not Path("/run/vegd-lab", prefix).exists()


@pytest.fixture
def prefix() -> Iterator[str]:
    """A prefix of this test alone; whatever lab it made is removed."""
    name = f"t{os.getpid()}"
    yield name
    for each in (name, f"{name}b"):
        _lab("down", "--prefix", each)


@pytest.mark.parametrize("router", ["linux", "ovn"])
def test_the_demo_passes_every_scene_and_leaves_only_its_report(
    router: str, prefix: str, tmp_path: Path
) -> None:
    done = _lab("demo", "--router", router, "--prefix", prefix, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "demo-report.json").read_text())
    assert report["router"] == router
    played = [(scene["scene"], scene["family"]) for scene in report["scenes"]]
    assert played == [(scene, family) for scene in SCENES for family in ("ipv4", "ipv6")]
    by_name = {(scene["scene"], scene["family"]): scene for scene in report["scenes"]}
    for family in ("ipv4", "ipv6"):
        cut, drain = by_name["cut", family], by_name["drain", family]
        assert cut["lost"] > 0
        assert cut["detection_ms"] > 0
        assert drain["lost"] == drain["lost_by_ovn"]
        assert all(
            by_name[scene, family]["lost"] == 0 for scene in ("heal", "upstream back", "return")
        )
    assert "<svg" in (tmp_path / "demo-report.svg").read_text()
    assert {each.name for each in tmp_path.iterdir()} == {"demo-report.json", "demo-report.svg"}
    assert _is_gone(prefix)


def test_a_tour_of_two_labs_side_by_side(prefix: str) -> None:
    for each in (prefix, f"{prefix}b"):
        up = _lab("up", "--prefix", each, "--gateways", "2", "--clients", "1")
        assert up.returncode == 0, up.stderr
    mine = ("--prefix", prefix)
    for separator in ([], ["--"]):
        route = _lab("exec", *mine, "gw1", *separator, "ip", "route", "show", "table", "1001")
        assert "default via 172.17.0.1" in route.stdout, route.stderr
    sessions = _lab("exec", *mine, "router", "--", *PYTHON, "sessions", "--json")
    assert {each["state"] for each in json.loads(sessions.stdout)} == {3}
    assert _lab("fault", *mine, "gw1", "cut").returncode == 0
    eventually(lambda: _lab("status", *mine).returncode == 1, "gw1 is given up")
    flows = json.loads(_lab("probe", *mine, "--seconds", "1", "--json").stdout)
    assert {address for flow in flows for address in flow["seen_as"]} == {
        "172.17.0.12",
        "fd17::12",
    }
    assert _lab("status", "--prefix", f"{prefix}b").returncode == 0
    assert _lab("fault", *mine, "gw1", "heal").returncode == 0
    eventually(lambda: _lab("status", *mine).returncode == 0, "gw1 is back")
    assert _lab("down", *mine).returncode == 0
    assert _is_gone(prefix)
    assert _namespaces(f"{prefix}b")
    unknown = _lab("exec", "--prefix", f"{prefix}b", "gw7", "true")
    assert (unknown.returncode, "gw7" in unknown.stderr) == (2, True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "a crash"])
def test_nothing_is_left_of_a_demo_after(
    number: signal.Signals, prefix: str, tmp_path: Path
) -> None:
    command = [*PYTHON, "lab", "demo", "--prefix", prefix]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ) as demo:
        assert demo.stdout is not None
        assert any("is cut off" in line for line in demo.stdout)
        assert _namespaces(prefix)
        demo.send_signal(number)
        assert demo.wait(30) != 0
    eventually(lambda: _is_gone(prefix), "the lab is removed")
