"""The control plane of the tests is a real one, and nothing of it is left behind."""

import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from vegd.lab.cluster.control_plane import NOBODY, ControlPlane, Refused


def test_it_is_a_cluster_with_rbac_and_without_nodes(control_plane: ControlPlane) -> None:
    assert control_plane.request("GET", "/api/v1/nodes")["items"] == []
    with pytest.raises(Refused) as no:
        control_plane.request("GET", "/api/v1/nodes", token=NOBODY)
    assert no.value.code == 403


def test_a_deployment_becomes_a_pod_that_waits_for_a_node(
    control_plane: ControlPlane, namespace: str
) -> None:
    manifest = """
      {apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {
        selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}},
          spec: {containers: [{name: web, image: web}]}}}}"""
    done = control_plane.kubectl("apply", "-n", namespace, "-f", "-", stdin=manifest)
    assert (done.returncode, done.stderr) == (0, "")
    end = time.monotonic() + 120
    while time.monotonic() < end:
        pods = control_plane.request("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
        conditions = [each for pod in pods for each in pod["status"].get("conditions", ())]
        if any(each["reason"] == "Unschedulable" for each in conditions):
            return
        time.sleep(0.1)
    raise AssertionError(f"no pod was seen by the scheduler: {pods}")


def test_nothing_is_left_of_it(tmp_path: Path) -> None:
    plane = ControlPlane(tmp_path / "plane", with_controllers=False)
    pids = [each.pid for each in plane.processes.values()]
    ports = [urlsplit(url).port for url in (plane.url, plane.etcd_url)]
    assert [_is_free(port) for port in ports] == [False, False]
    plane.close()
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert [_is_free(port) for port in ports] == [True, True]
    assert not (tmp_path / "plane").exists()


def test_it_dies_with_a_test_run_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time; from vegd.lab.cluster.control_plane import ControlPlane\n"
        "plane = ControlPlane(pathlib.Path(sys.argv[1]), with_controllers=False)\n"
        "print(*(each.pid for each in plane.processes.values()), flush=True); time.sleep(300)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "plane")], stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        pids = run.stdout.readline().split()
        run.kill()
    assert len(pids) == 2
    end = time.monotonic() + 120
    while [pid for pid in pids if str(tmp_path) in _command(Path("/proc", pid))]:
        assert time.monotonic() < end, "they outlive the test run"
        time.sleep(0.1)


def test_one_that_cannot_start_says_why_and_ends_what_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An API server that ends at once, as one with a mistake in its options does.
    assets = tmp_path / "assets"
    assets.mkdir()
    (assets / "kube-apiserver").write_text("#!/bin/sh\necho no such option\nexit 1\n")
    (assets / "kube-apiserver").chmod(0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    with pytest.raises(RuntimeError, match=r"does not become ready(.|\n)*no such option"):
        ControlPlane(tmp_path / "plane", with_controllers=False)
    assert [pid for pid in Path("/proc").glob("[0-9]*") if str(tmp_path) in _command(pid)] == []
    assert not (tmp_path / "plane").exists()


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_text()
    except OSError:
        return ""


def _is_free(port: int | None) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
