"""The containers of a gateway pod, as far as the kernel makes them: network, mounts, user, rights.

The root filesystem and /proc/sys are read-only; the two volumes are directories of the test. The
main container is uid 65534 with the capabilities that Kube-OVN's controller leaves it, as ambient
ones, since these tests start the interpreter without a launcher.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.daemon import alive, get, page_of
from tests.support.netns import fd_path
from tests.support.pod import Pod

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "kube/image"
SUPERVISOR = str(SCRIPTS / "kube-ovn-bfdd-supervisor")
WITHIN_S = 60.0
USER = 65534
CAPABILITIES = "net_admin,net_raw,net_bind_service"
CAPABILITY_BITS = 1 << 12 | 1 << 13 | 1 << 10

_CONTAINER = """
set -e
directory=$1 repository=$2
shift 2
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mkdir -p /run/kube-ovn/bfdd-supervisor /run/repository /run/cgroup
mount --bind "$directory/state" /run/kube-ovn/bfdd-supervisor
mount --bind "$directory/sbin" /usr/local/sbin
# Others may be kept from the directory that the repository is in.
mount --bind "$repository" /run/repository
top=${repository#/}
mount -t tmpfs -o mode=755 tmpfs "/${top%%/*}"
mkdir -p "$repository"
mount --bind /run/repository "$repository"
mount --rbind /sys/fs/cgroup /run/cgroup
mount -t sysfs -o ro sysfs /sys
mount --rbind /run/cgroup /sys/fs/cgroup
cd /
"""
_READ_ONLY = """
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -o remount,bind,ro /
"""
_AS_USER = (
    *("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"),
    *(
        f"--{each}=-all,{','.join('+' + name for name in CAPABILITIES.split(','))}"
        for each in ("bounding-set", "inh-caps", "ambient-caps")
    ),
)


class Containers:
    """Init and main container of one pod. `directory` is the test's; `groups` are files of control
    groups that a process number is written to, for the main container, which alone has limits."""

    def __init__(
        self,
        pod: Pod,
        directory: Path,
        environment: Mapping[str, str],
        groups: Sequence[Path] = (),
    ) -> None:
        self.pod = pod
        self.directory = directory
        self.log = directory / "log"
        self.sbin, self.state = directory / "sbin", directory / "state"
        for volume in (self.sbin, self.state):
            volume.mkdir()
            volume.chmod(0o1777)
        self.saved = self.sbin / "vegd-gateway.yaml"
        self.runtime_dir = self.sbin / "vegd"
        self.environment = {
            "PATH": f"{SCRIPTS}:{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
            "VEGD_RUNTIME_DIR": "/usr/local/sbin/vegd",
            **environment,
        }
        self.unshare: subprocess.Popen[bytes]
        self._join = "".join(f"echo $$ >{each}\n" for each in groups)

    def init(self, environment: Mapping[str, str]) -> str:
        """The init container, which has to succeed; what it prints."""
        command = ("bash", str(SCRIPTS / "init-vpc-egress-gateway.sh"))
        done = self._run(self._inside("", *command), self.environment | dict(environment))
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    @contextlib.contextmanager
    def main(self, *command: str, **environment: str) -> Iterator[None]:
        """The main container, from when it listens until, at the end, its violent death."""
        started = [
            # A process namespace of its own, so that nothing outlives its first process.
            *("unshare", "--pid", "--fork", "--mount-proc"),
            *self._inside(_READ_ONLY + self._join, *_AS_USER, *(command or (SUPERVISOR, "run"))),
        ]
        (self.runtime_dir / "bfdd.sock").unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self.unshare = subprocess.Popen(
                started, stdout=log, stderr=log, env=self.environment | environment
            )
        try:
            # No command is run for that: it would share the limits of the container.
            self.eventually((self.runtime_dir / "bfdd.sock").exists, "its socket")
            yield
        finally:
            inside = self.pids
            with contextlib.suppress(ProcessLookupError):
                # With the first one goes everything in its process namespace.
                os.kill(inside[0] if inside else self.unshare.pid, signal.SIGKILL)
            self.unshare.wait()
            while any(map(alive, inside)):
                time.sleep(0.02)

    @property
    def pids(self) -> list[int]:
        """The processes of the main container as seen from outside, its first one first."""
        found, unseen = [], [self.unshare.pid]
        while unseen:
            pid = unseen.pop()
            with contextlib.suppress(OSError):
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                unseen += [int(child) for child in children]
                found += [int(child) for child in children]
        return found

    def exec(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the running main container, as a probe does."""
        if not self.pids:
            return subprocess.CompletedProcess(command, 1, "", "there is no container")
        script = f'{self._join}exec "$@"'
        enter = ("nsenter", f"--target={self.pids[0]}", "--mount", "--net", "--pid", "--wd=/")
        return self._run(["sh", "-c", script, "sh", *enter, *_AS_USER, *command], self.environment)

    def says(self, *command: str) -> str:
        """What a command prints that has to succeed."""
        done = self.exec(*command)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def terminate(self) -> None:
        """SIGTERM to the first process."""
        os.kill(self.pids[0], signal.SIGTERM)

    def status(self) -> dict[str, Any]:
        """The gateway's status by the agent; empty while there is no agent that answers."""
        page = page_of(self.runtime_dir / "agent.sock", "/v1/status")
        return {} if page is None else dict(json.loads(page))

    def metric(self, name: str) -> float:
        """A metric of the page on port 10669, summed over its labels."""
        status, page = get(self.pod.pod, "/metrics")
        assert status == 200, page
        lines = (line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
        return sum(float(value) for key, value in lines if key.partition("{")[0] == name)

    def states(self) -> list[str]:
        """The states of the sessions, as the supervisor tells them."""
        done = self.exec(SUPERVISOR, "status")
        document = json.loads(done.stdout) if done.returncode == 0 else {"Sessions": []}
        return [each["State"] for each in document["Sessions"]]

    def eventually(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until the condition holds."""
        deadline = time.monotonic() + WITHIN_S
        while not condition():
            text = self.log.read_text()
            assert time.monotonic() < deadline, f"not in time: {what}\n{text[-4000:]}"
            assert self.unshare.poll() is None, f"ended before: {what}\n{text[-4000:]}"
            time.sleep(0.1)

    def _inside(self, script: str, *command: str) -> list[str]:
        script = f'{_CONTAINER}{script}exec "$@"'
        enter = ("unshare", "--mount", "nsenter", f"--net={fd_path(self.pod.pod)}")
        return [*enter, "sh", "-c", script, "sh", str(self.directory), str(ROOT), *command]

    def _run(
        self, command: Sequence[str], environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=WITHIN_S,
            env=dict(environment),
        )
