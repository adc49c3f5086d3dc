"""``vegd watch`` beside a real agent and a real API server, with the rights of a gateway's pod."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import yaml

from kube import definitions
from kube.objects import CONFIG_MAPS, Object, Resource
from tests.support.daemon import Site, eventually
from tests.support.dataplane import inside_thread
from vegd.lab.cluster.control_plane import ControlPlane, Refused

GATEWAYS = definitions.gateways()
GATEWAY, CONFIG_MAP, POD, NODE = "gw", "gw-vegd", "gw-6c8d9-x2x4z", "node1"
_APPLY = "application/apply-patch+yaml"
_ACCOUNTS = "vegd-system"
"""The namespace whose accounts the audit log of the tests has."""


class World:
    """A gateway's objects in a namespace, and an account that may do what its pods may."""

    def __init__(
        self,
        plane: ControlPlane,
        namespace: str,
        site: Site,
        resource: Resource = GATEWAYS,
    ) -> None:
        self.plane = plane
        self.resource = resource
        self.namespace = namespace
        self.site = site
        self.account = f"watch-{namespace}"
        self.kubeconfig = site.directory / "kubeconfig"
        self.revision = 0

    @property
    def user(self) -> str:
        """The account, as the API server names it."""
        return f"system:serviceaccount:{_ACCOUNTS}:{self.account}"

    def create(self) -> None:
        """The gateway, the account with its rights, and the ConfigMap."""
        self.kubectl("create", "namespace", _ACCOUNTS, ok=("AlreadyExists",))
        self.kubectl("create", "serviceaccount", self.account, "-n", _ACCOUNTS)
        self.allow(rights(self.resource))
        self.kubectl(
            *("create", "rolebinding", self.account, "-n", self.namespace),
            *(f"--role={self.account}", f"--serviceaccount={_ACCOUNTS}:{self.account}"),
        )
        self.create_gateway()
        self.put()
        self.write_kubeconfig(self.token())

    def create_gateway(self) -> None:
        """The resource, as a user writes it."""
        spec = {"externalSubnet": "outside", "policies": [{"snat": True, "subnets": ["inside"]}]}
        self.apply(self.resource.api_version, self.resource.kind, GATEWAY, {"spec": spec})

    def allow(self, rules: list[Object]) -> None:
        """The Role of the account, with these rules and no other."""
        self.apply("rbac.authorization.k8s.io/v1", "Role", self.account, {"rules": rules})

    def put(self, **changes: Any) -> int:
        """Write the ConfigMap with some sections replaced, and return its revision."""
        self.site.spec |= changes
        self.revision += 1
        self.put_text(yaml.safe_dump({**self.site.spec, "revision": self.revision}))
        return self.revision

    def put_text(self, text: str) -> None:
        """Write the ConfigMap."""
        self.apply("v1", "ConfigMap", CONFIG_MAP, {"data": {"gateway.yaml": text}})

    def apply(self, api_version: str, kind: str, name: str, body: Object) -> None:
        """An object of the namespace, made or changed."""
        head = {"name": name, "namespace": self.namespace}
        manifest = {"apiVersion": api_version, "kind": kind, "metadata": head, **body}
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifest)

    def kubectl(
        self, *arguments: str, stdin: Object | None = None, ok: tuple[str, ...] = ()
    ) -> str:
        """What kubectl prints; it must not fail but with one of the words in `ok`."""
        text = "" if stdin is None else yaml.safe_dump(stdin)
        done = self.plane.kubectl(*arguments, stdin=text)
        assert not done.returncode or any(word in done.stderr for word in ok), done.stderr
        return done.stdout.strip()

    def renew_account(self) -> None:
        """Another account of the same name and rights: tokens of before are void."""
        self.kubectl("delete", "serviceaccount", self.account, "-n", _ACCOUNTS)
        self.kubectl("create", "serviceaccount", self.account, "-n", _ACCOUNTS)

    def token(self) -> str:
        """A new token of the account."""
        return self.kubectl("create", "token", self.account, "-n", _ACCOUNTS)

    def write_kubeconfig(self, token: str) -> None:
        """From now on a client that is started has this token."""
        self.plane.write_kubeconfig(self.kubeconfig, token)

    def gateway(self) -> Object:
        """The resource."""
        path = self.resource.path(self.namespace, GATEWAY)
        return dict(self.plane.request("GET", path))

    def entries(self) -> list[Object]:
        """What the pods have reported."""
        return list(self.gateway().get("status", {}).get("gateways", ()))

    def entry(self) -> Object:
        """What our pod has reported; empty if it has not."""
        with contextlib.suppress(OSError, Refused):
            return next((each for each in self.entries() if each["pod"] == POD), {})
        return {}

    def until_entry(self, reason: str = "", **values: Any) -> Object:
        """Wait for an entry with these values, and with a reason if one is named."""
        found: Object = {}

        def is_there() -> bool:
            found.clear()
            found.update(self.entry())
            wanted = all(found.get(name) == each for name, each in values.items())
            return bool(found) and wanted and (not reason or reason in found["reasons"])

        with _told(found):
            eventually(is_there, f"an entry with {values} {reason}", within_s=90)
        return found

    def report_as(self, pod: str, **values: Any) -> None:
        """What the watcher of another pod would report."""
        self.report(f"vegd-watch/{pod}", [{"pod": pod, **values}])

    def report(self, manager: str, entries: list[Object]) -> None:
        """Entries under somebody's name."""
        self.plane.request(
            "PATCH",
            self.resource.path(self.namespace, GATEWAY, "status")
            + f"?fieldManager={manager}&force=true",
            {
                "apiVersion": self.resource.api_version,
                "kind": self.resource.kind,
                "metadata": {"name": GATEWAY, "namespace": self.namespace},
                "status": {"gateways": entries},
            },
            content_type=_APPLY,
        )

    @property
    def environ(self) -> dict[str, str]:
        """Of a watcher that is started without options."""
        return {
            "KUBECONFIG": str(self.kubeconfig),
            "POD_NAMESPACE": self.namespace,
            "VEGD_CONFIG_MAP": CONFIG_MAP,
            "VEGD_GATEWAY": GATEWAY,
            "POD_NAME": POD,
            "NODE_NAME": NODE,
            "VEGD_API_GROUP": self.resource.group,
        }

    @contextlib.contextmanager
    def watcher(self) -> Iterator["Watcher"]:
        """A running watcher, killed at the end if it still runs."""
        watcher = Watcher(self)
        try:
            yield watcher
        finally:
            watcher.kill()


def rights(resource: Resource) -> list[Object]:
    """Those of a gateway's pod (docs/watcher.md)."""
    return [
        _right("", CONFIG_MAPS.plural, CONFIG_MAP, "list", "watch"),
        _right(resource.group, resource.plural, GATEWAY, "get"),
        _right(resource.group, f"{resource.plural}/status", GATEWAY, "patch"),
    ]


def _right(group: str, plural: str, name: str, *verbs: str) -> Object:
    return {
        "apiGroups": [group],
        "resources": [plural],
        "resourceNames": [name],
        "verbs": [*verbs],
    }


class Watcher:
    """One ``vegd watch``, in the namespace where the API server is."""

    def __init__(self, world: World) -> None:
        self.log = world.site.directory / "watch.log"
        command = [sys.executable, "-m", "vegd", "watch", f"--runtime-dir={world.site.runtime_dir}"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                stdout=log,
                stderr=log,
                env={**os.environ, **world.environ},
            )

    def ends(self) -> int:
        """SIGTERM, and the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def until_log(self, text: str, times: int = 1) -> None:
        """Wait until the log has a text."""
        eventually(
            lambda: self.log.read_text().count(text) >= times,
            f"{text!r} in {self.log}",
            within_s=90,
        )

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(5)


@contextlib.contextmanager
def _told(found: Object) -> Iterator[None]:
    try:
        yield
    except AssertionError as exc:
        exc.add_note(f"the last one was {found}")
        raise


@contextlib.contextmanager
def forwarded(ns: str, url: str) -> Iterator[None]:
    """A namespace's way to the API server: what is sent to its address there arrives here.

    The socket is made in the namespace, and stays of it wherever it is served.
    """
    place = urlsplit(url)
    address = (str(place.hostname), int(place.port or 0))
    listener = inside_thread(ns, lambda: socket.create_server(address))
    threading.Thread(target=_serve, args=(listener, address), daemon=True).start()
    try:
        yield
    finally:
        # Wakes who waits in accept, which closing does not.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _serve(listener: socket.socket, address: tuple[str, int]) -> None:
    with contextlib.suppress(OSError):
        while True:
            near, _ = listener.accept()
            threading.Thread(target=_join, args=(near, address), daemon=True).start()


def _join(near: socket.socket, address: tuple[str, int]) -> None:
    with near, contextlib.suppress(OSError), socket.create_connection(address) as far:
        back = threading.Thread(target=_pass_on, args=(far, near), daemon=True)
        back.start()
        _pass_on(near, far)
        back.join()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    for each in (source, sink):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
