"""``kubectl vegd`` as a user runs it: the plugin is found on PATH by a real kubectl."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from vegd.lab.cluster import assets


@dataclass(frozen=True)
class Said:
    """What a command has printed, and its exit status."""

    status: int
    out: str
    err: str


def kubectl_vegd(kubeconfig: Path, *arguments: str) -> Said:
    """Run it."""
    places = [Path(sys.executable).parent, assets.find("kubectl").parent]
    path = os.pathsep.join([*map(str, places), os.environ["PATH"]])
    done = subprocess.run(
        ["kubectl", "vegd", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, "PATH": path, "KUBECONFIG": str(kubeconfig)},
    )
    return Said(done.returncode, done.stdout, done.stderr)
