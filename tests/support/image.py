"""The image, built once for each state of the sources, and its root filesystem.

`build` makes it as ``make image BASE=debootstrap`` does: with buildah, from Debian's packages,
without an engine and without a registry. What it has made stays in ``.cache/image`` until the
sources change.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
STORE = ROOT / ".cache/image"
BASE = STORE / "base.tar"
"""Everything of the base, but devices."""

_SOURCES = (".dockerignore", "Dockerfile", "README.md", "kube", "bfd", "dataplane", "vegd")
_NAME = "localhost/vegd"
_USER = ("--reuid=65534", "--regid=65534", "--clear-groups")
_ENTER = """
root=$1
shift
mount --rbind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o uid=65534 tmpfs "$root/run/vegd"
mount -o remount,bind,ro "$root"
exec "$@"
"""


@dataclass(frozen=True)
class Image:
    """A root filesystem and its configuration. Nobody may write there: mount something over it."""

    root: Path
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    environment: Mapping[str, str]
    labels: Mapping[str, str]
    user: str

    def container(
        self, *command: str, capabilities: Iterable[str] = (), no_new_privs: bool = False
    ) -> list[str]:
        """The argument list that runs a command as uid 65534 in the root, which is read-only.

        The process may get these capabilities by what it executes, has none yet, and is the first
        of its process namespace.
        """
        bounding = ",".join(["-all", *(f"+{each}" for each in capabilities)])
        # The first execution drops what a runtime leaves permitted.
        rights = ["setpriv", "--inh-caps=-all", f"--bounding-set={bounding}", *_USER]
        then = ["setpriv", "--no-new-privs"] if no_new_privs else ["env"]
        environment = [f"{name}={value}" for name, value in self.environment.items()]
        return [
            *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
            *("sh", "-ec", _ENTER, "sh", str(self.root), "env", "-i", *environment),
            *("chroot", str(self.root), *rights, *then, *command),
        ]


def built_root() -> Path:
    """The root filesystem of the image of these sources; builds it if there is none."""
    return build().root


@cache
def build() -> Image:
    """The image of these sources, as it is in the store, or built now, which takes minutes."""
    tag = f"{_NAME}:{_fingerprint()}"
    STORE.mkdir(parents=True, exist_ok=True)
    with (STORE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _buildah("inspect", "--type", "image", tag, check=False) is None:
            _forget_others()
            make(tag)
        container = f"root-{tag.rpartition(':')[2]}"
        if _buildah("inspect", container, check=False) is None:
            _buildah("from", "--name", container, tag)
        root = Path(str(_buildah("mount", container)).strip())
    return _image(root, tag)


@contextlib.contextmanager
def another() -> Iterator[Path]:
    """The root of a second build of the same sources, for as long as the context lasts."""
    tag, container = f"{_NAME}:again", "again"
    try:
        make(tag)
        _buildah("from", "--name", container, tag)
        yield Path(str(_buildah("mount", container)).strip())
    finally:
        _buildah("rm", container, check=False)
        _buildah("rmi", "--force", tag, check=False)


def make(tag: str, *options: str) -> None:
    """Build under this name, with further options of ``buildah build``; shows what it does."""
    command = [ROOT / "kube/build-image.sh", *options]
    environment = {**os.environ, "BASE": "debootstrap", "IMAGE": tag}
    subprocess.run(command, env=environment, stdout=sys.stderr, check=True)


def _fingerprint() -> str:
    sources = [ROOT / "pyproject.toml", *ROOT.glob("LICENSE-*")]
    for name in _SOURCES:
        sources += [path for path in (ROOT / name, *(ROOT / name).rglob("*")) if path.is_file()]
    digest = hashlib.sha256()
    for path in sorted(path for path in sources if "__pycache__" not in path.parts):
        name = path.relative_to(ROOT)
        digest.update(f"{name} {path.stat().st_mode:o} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _image(root: Path, tag: str) -> Image:
    found = json.loads(str(_buildah("inspect", "--type", "image", tag)))["OCIv1"]["config"]
    return Image(
        root=root,
        entrypoint=tuple(found["Entrypoint"]),
        command=tuple(found["Cmd"]),
        environment=dict(each.split("=", 1) for each in found["Env"]),
        labels=found["Labels"],
        user=found.get("User", ""),
    )


def _forget_others() -> None:
    """Remove what was built of other sources: each takes half a gigabyte."""
    _buildah("rm", "--all")
    for name in _images():
        if name.startswith(f"{_NAME}:"):
            _buildah("rmi", "--force", name)
    _buildah("rmi", "--prune", "--force")


def _images() -> Iterator[str]:
    for each in json.loads(str(_buildah("images", "--json")) or "[]"):
        yield from each.get("names") or ()


def _buildah(*arguments: str, check: bool = True) -> str | None:
    """What buildah prints; None if it fails and that is not checked."""
    store = ("--root", STORE / "storage", "--runroot", STORE / "run", "--storage-driver", "vfs")
    done = subprocess.run(
        ["buildah", *store, *arguments], capture_output=True, text=True, check=False, timeout=600
    )
    if done.returncode == 0:
        return done.stdout
    if check:
        raise RuntimeError(f"buildah {' '.join(arguments)}: {done.stderr.strip()}")
    return None


def controller_root() -> Path:
    """The root filesystem of the controller's image of these sources; builds it if there is none,
    upon the gateway's."""
    build()
    tag = f"{_NAME}-controller:{_fingerprint()}"
    if _buildah("inspect", "--type", "image", tag, check=False) is None:
        environment = {**os.environ, "BASE": "debootstrap", "IMAGE": tag}
        environment["GATEWAY"] = f"{_NAME}:{_fingerprint()}"
        command = [ROOT / "kube/build-image.sh"]
        subprocess.run(command, env=environment, stdout=sys.stderr, check=True)
    container = f"controller-{_fingerprint()}"
    if _buildah("inspect", container, check=False) is None:
        _buildah("from", "--name", container, tag)
    return Path(str(_buildah("mount", container)).strip())
