"""OVN in another version than the machine's: Debian 13's 25.03, from a root of its own.

`python -m tests.support.ovn_versions` makes the root, as does the first test that wants it: by
debootstrap, once, in `~/.cache/vegd`: 240 MB; 90 s on two cores, four minutes while they are busy.
Nothing is mounted and no service is started. Its programs run with its own dynamic loader and
libraries, in the machine's own file system, so that sockets and databases have the same names for
everybody.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

from vegd.lab.ovn_programs import OvnPrograms

_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vegd"
_PACKAGES = ("openvswitch-switch", "ovn-central", "ovn-host")
_PROGRAMS = (
    *("usr/sbin/ovsdb-server", "usr/bin/ovsdb-tool", "usr/bin/ovsdb-client", "usr/bin/ovs-vsctl"),
    *("usr/sbin/ovs-vswitchd", "usr/bin/ovs-appctl", "usr/bin/ovn-northd", "usr/bin/ovn-nbctl"),
    *("usr/bin/ovn-controller", "usr/bin/ovn-sbctl"),
)


def trixie() -> OvnPrograms:
    """OVN 25.03 of Debian 13; makes its root if it is not there, and tells how it goes."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    root = _CACHE / "ovn-trixie"
    with (_CACHE / "ovn-trixie.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            _debootstrap(root)
        wrappers = _CACHE / "ovn-trixie-bin"
        wrappers.mkdir(exist_ok=True)
        for name in _PROGRAMS:
            _wrap(root, name, wrappers)
    return OvnPrograms("25.03", wrappers, root / "usr/share")


def _debootstrap(root: Path) -> None:
    print(f"==> making a root of Debian 13 for OVN 25.03 in {root} (240 MB)", file=sys.stderr)
    part = root.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    # The archive that apt uses here.
    sites = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE)"],
        capture_output=True,
        text=True,
        check=True,
    )
    site = sites.stdout.split()[0]
    include = f"--include={','.join(_PACKAGES)}"
    command = ["debootstrap", "--variant=minbase", include, "trixie", str(part), site]
    subprocess.run(command, stdout=sys.stderr, check=True)
    for each in ("var/cache/apt", "var/lib/apt/lists"):
        shutil.rmtree(part / each, ignore_errors=True)
    part.rename(root)


def _wrap(root: Path, name: str, wrappers: Path) -> None:
    """A script that starts a program of the root with the root's own loader and libraries."""
    program = root / name
    while program.is_symlink():
        target = program.readlink()
        program = (
            root / target.relative_to("/") if target.is_absolute() else program.parent / target
        )
    library = root / "usr/lib/x86_64-linux-gnu"
    loader = library / "ld-linux-x86-64.so.2"
    script = f'#!/bin/sh\nexec {loader} --library-path {library} {program} "$@"\n'
    wrapper = wrappers / Path(name).name
    if not wrapper.exists() or wrapper.read_text() != script:
        wrapper.write_text(script)
        wrapper.chmod(0o755)


if __name__ == "__main__":
    trixie()
