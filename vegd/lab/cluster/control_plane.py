"""A real Kubernetes control plane on the loopback: etcd, API server, controller manager, scheduler.

It has no nodes and runs no container; everything else is as in a cluster: validation, defaults,
RBAC, watches, Deployments with their ReplicaSets and Pods, scheduling, garbage collection. All its
files are in one folder. Unless somebody keeps a list of the processes, each dies with the one that
started it, whatever that dies of.
"""

import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vegd.lab.cluster import assets

ADMIN = "admin-token"
NOBODY = "nobody-token"
"""A user that is known and may do nothing."""

_READY_S = 180
_LOST_S = 20
"""A node that has not been heard of for so long is not Ready."""
_PORTS = range(20_000, 32_000)
_TRIES = 3
_names = itertools.count(1)

_KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{{name: test, cluster: {{server: "{url}", certificate-authority: "{ca}"}}}}]
users: [{{name: test, user: {{token: "{token}"}}}}]
contexts: [{{name: test, context: {{cluster: test, user: test}}}}]
current-context: test
"""

_AUDIT = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    userGroups: ["system:serviceaccounts:vegd-system"]
  - level: None
"""


Started = Callable[[str, subprocess.Popen[bytes]], object]
"""Takes the name of a program and its process."""


class Refused(Exception):
    """The API server's answer to a request that it did not carry out."""

    def __init__(self, code: int, status: Mapping[str, Any]) -> None:
        super().__init__(f"{code}: {status.get('message')}")
        self.code = code
        self.status = status


class ApiServer:
    """An API server, for requests of a user with a token."""

    def __init__(self, url: str, ca: Path, token: str = ADMIN) -> None:
        self._url = url
        self._ca = ca
        self._token = token

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content_type: str = "application/json",
    ) -> Any:
        """One request, apart from the client that is tested.

        Raises:
            Refused: the API server said no.
        """
        request = urllib.request.Request(  # noqa: S310 - always https
            self._url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": content_type},
        )
        context = ssl.create_default_context(cafile=self._ca)
        try:
            with urllib.request.urlopen(request, timeout=30, context=context) as answer:  # noqa: S310
                text = answer.read().decode()
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            status = json.loads(text) if text.startswith("{") else {"message": text}
            raise Refused(error.code, status) from None
        return json.loads(text) if text.startswith("{") else text


class ControlPlane:
    """The processes, and what a test needs to reach them.

    `with_controllers` False leaves the controller manager and the scheduler out. With `outlives`
    the processes go on when this one ends; it is told of each as it starts. Only then nodes that
    are not heard of are noticed, after `_LOST_S`.
    """

    def __init__(
        self, directory: Path, *, with_controllers: bool = True, outlives: Started | None = None
    ) -> None:
        self.directory = directory
        self._outlives = outlives
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ca = directory / "certs/apiserver.crt"
        self.kubeconfig = directory / "kubeconfig"
        self.token = ADMIN
        for left in reversed(range(_TRIES)):
            try:
                self._start(with_controllers)
            except BaseException as exc:
                self.close()
                # Somebody else may have taken a port between the choice and the start.
                if not left or "address already in use" not in str(exc):
                    raise
            else:
                return

    def close(self) -> None:
        """Kill every process, the ones that depend on others first; their files go, too."""
        for name in reversed(list(self.processes)):
            self._end(name)
        shutil.rmtree(self.directory, ignore_errors=True)

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        token: str = ADMIN,
        content_type: str = "application/json",
    ) -> Any:
        """As of `ApiServer`."""
        server = ApiServer(self.url, self.ca, token)
        return server.request(method, path, body, content_type=content_type)

    def kubectl(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run kubectl as the administrator; the caller looks at how it ended."""
        return subprocess.run(
            [assets.find("kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, "HOME": str(self.directory)},
        )

    def write_kubeconfig(self, path: Path, token: str) -> Path:
        """A kubeconfig for another user."""
        path.write_text(_KUBECONFIG.format(url=self.url, ca=self.ca, token=token))
        return path

    def requests_of(self, user: str) -> Iterator[dict[str, Any]]:
        """What the API server's audit log has of a service account of ours (audit.k8s.io/v1)."""
        for line in (self.directory / "audit.log").read_text().splitlines():
            event = json.loads(line)
            if event["user"]["username"] == user:
                yield event

    @contextlib.contextmanager
    def namespace(self) -> Iterator[str]:
        """A namespace with a name of its own, deleted at the end with all that is in it."""
        name = f"t{next(_names)}"
        self.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        try:
            yield name
        finally:
            self.request("DELETE", f"/api/v1/namespaces/{name}")

    def compact(self) -> None:
        """Make etcd forget every revision but the newest."""
        revision = self._etcd("range", {"key": "AA=="})["header"]["revision"]
        self._etcd("compaction", {"revision": revision, "physical": True})

    def stop_api_server(self) -> None:
        """Kill the API server; etcd goes on."""
        self._end("kube-apiserver")

    def start_api_server(self) -> None:
        """Start it again at the same address, until it is ready."""
        self._run("kube-apiserver", *self._api_server_options)
        self._until_ready("kube-apiserver", self._is_ready)

    @contextlib.contextmanager
    def frozen_api_server(self) -> Iterator[None]:
        """An API server that accepts connections and answers nothing meanwhile."""
        process = self.processes["kube-apiserver"]
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)
            self._until_ready("kube-apiserver", self._is_ready)

    def _start(self, with_controllers: bool) -> None:
        self.directory.mkdir(exist_ok=True, parents=True)
        client, peer, secure = free_ports(3)
        self.etcd_url = f"http://127.0.0.1:{client}"
        self.url = f"https://127.0.0.1:{secure}"
        self._write_files()
        self._run("etcd", *self._etcd_options(f"http://127.0.0.1:{peer}"))
        self._until_ready("etcd", lambda: bool(self._etcd("range", {"key": "AA=="})))
        self._api_server_options = self._options_of_api_server(secure)
        self.start_api_server()
        if with_controllers:
            self._start_controllers()

    def _write_files(self) -> None:
        key = self.directory / "sa.key"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        (self.directory / "audit.yaml").write_text(_AUDIT)
        (self.directory / "tokens.csv").write_text(
            f'{ADMIN},admin,admin,"system:masters"\n{NOBODY},nobody,nobody\n'
        )
        self.write_kubeconfig(self.kubeconfig, ADMIN)

    def _etcd_options(self, peer_url: str) -> list[str]:
        return [
            f"--data-dir={self.directory / 'etcd'}",
            "--unsafe-no-fsync",
            f"--listen-client-urls={self.etcd_url}",
            f"--advertise-client-urls={self.etcd_url}",
            f"--listen-peer-urls={peer_url}",
            f"--initial-advertise-peer-urls={peer_url}",
            f"--initial-cluster=default={peer_url}",
        ]

    def _options_of_api_server(self, port: int) -> list[str]:
        key = self.directory / "sa.key"
        return [
            f"--etcd-servers={self.etcd_url}",
            f"--cert-dir={self.directory / 'certs'}",
            f"--secure-port={port}",
            "--bind-address=127.0.0.1",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--token-auth-file={self.directory / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--allow-privileged=true",
            "--disable-admission-plugins=ServiceAccount",
            "--shutdown-delay-duration=0s",
            f"--audit-policy-file={self.directory / 'audit.yaml'}",
            f"--audit-log-path={self.directory / 'audit.log'}",
        ]

    def _start_controllers(self) -> None:
        common = (f"--kubeconfig={self.kubeconfig}", "--secure-port=0", "--leader-elect=false")
        controllers = "*,-nodeipam,-route,-cloud-node-lifecycle"
        if self._outlives is None:
            controllers += ",-node-lifecycle-controller"
        self._run(
            "kube-controller-manager",
            *common,
            f"--service-account-private-key-file={self.directory / 'sa.key'}",
            f"--root-ca-file={self.ca}",
            f"--controllers={controllers}",
            f"--node-monitor-grace-period={_LOST_S}s",
        )
        self._run("kube-scheduler", *common)
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        self._until_ready("kube-controller-manager", lambda: bool(self.request("GET", account)))

    def _etcd(self, call: str, body: Mapping[str, object]) -> Any:
        request = urllib.request.Request(  # noqa: S310 - always http
            f"{self.etcd_url}/v3/kv/{call}", data=json.dumps(body).encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.loads(answer.read())

    def _is_ready(self) -> bool:
        return self.ca.exists() and self.request("GET", "/readyz") == "ok"

    def _run(self, name: str, *options: str) -> None:
        """Start a program."""
        bound = [] if self._outlives else ["setpriv", "--pdeathsig", "KILL"]
        with (self.directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*bound, assets.find(name), *options],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=self.directory,
                start_new_session=self._outlives is not None,
            )
        self.processes[name] = process
        if self._outlives is not None:
            self._outlives(name, process)

    def _until_ready(self, name: str, is_ready: Callable[[], bool]) -> None:
        end = time.monotonic() + _READY_S
        while time.monotonic() < end and self.processes[name].poll() is None:
            with contextlib.suppress(OSError, Refused):
                if is_ready():
                    return
            time.sleep(0.1)
        lines = (self.directory / f"{name}.log").read_text().splitlines()
        raise RuntimeError(
            f"{name} does not become ready, its last words:\n" + "\n".join(lines[-20:])
        )

    def _end(self, name: str) -> None:
        """Kill it: an API server that is asked to end waits for the watches of others."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()


def free_ports(count: int) -> Sequence[int]:
    """Ports of the loopback that nobody listens on now, below those that the kernel gives away."""
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"no {count} ports are free in {_PORTS}")
