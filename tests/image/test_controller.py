"""The controller's image: the gateway's, and the libraries of the cluster's side."""

import subprocess
from pathlib import Path

import pytest

from tests.support import image as images
from tests.support.image import Image

pytestmark = pytest.mark.timeout(900)


def _vegd(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ("chroot", root, "/usr/local/bin/vegd", *arguments)
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_it_runs_the_controller(image: Image) -> None:
    root = images.controller_root()
    done = _vegd(root, "controller", "--help")
    assert done.returncode == 0, done.stderr
    assert "--ovn-nb" in done.stdout
    # As far as the connection to a cluster, of which there is none.
    done = _vegd(root, "controller", "--ovn-nb=unix:/nowhere", "--kubeconfig=/nowhere")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("vegd: no access to a cluster from /nowhere")


def test_the_gateways_image_says_that_it_is_not_the_controllers(image: Image) -> None:
    done = _vegd(image.root, "controller", "--ovn-nb=unix:/nowhere")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "use the controller's image" in done.stderr
