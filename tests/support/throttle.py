"""An API server that has no time for one user."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from vegd.lab.cluster.control_plane import NOBODY, ControlPlane, Refused

_API = "/apis/flowcontrol.apiserver.k8s.io/v1"
_NAME = "nothing"
_LIMIT_S = 120

# No seats at all still let one request at a time through. So one is begun and never ended:
# everybody may ask what he may do, and this question announces a body that never comes.
_QUESTION = (
    "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews HTTP/1.1\r\n"
    "Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
    f"Authorization: Bearer {NOBODY}\r\n\r\n"
)


@contextlib.contextmanager
def reject_everything_of_nobody(plane: ControlPlane) -> Iterator[None]:
    """Have every request of the user nobody answered with 429 from the beginning to the end."""
    plane.request("POST", f"{_API}/prioritylevelconfigurations", _level())
    plane.request("POST", f"{_API}/flowschemas", _flow())
    over = threading.Event()
    holder = threading.Thread(target=_hold, args=(plane, over))
    holder.start()
    try:
        _until_rejected(plane)
        yield
    finally:
        over.set()
        holder.join()
        plane.request("DELETE", f"{_API}/flowschemas/{_NAME}")
        plane.request("DELETE", f"{_API}/prioritylevelconfigurations/{_NAME}")


def _hold(plane: ControlPlane, over: threading.Event) -> None:
    """Keep the one place; the API server ends a question after a minute, then it is asked again."""
    address = urlsplit(plane.url)
    context = ssl.create_default_context(cafile=plane.ca)
    while not over.wait(0.05):
        with (
            contextlib.suppress(OSError),
            socket.create_connection((address.hostname, address.port), timeout=30) as plain,
            context.wrap_socket(plain, server_hostname=address.hostname) as connection,
        ):
            connection.sendall(_QUESTION.encode())
            connection.settimeout(0.2)
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    connection.recv(1)
                    break


def _until_rejected(plane: ControlPlane) -> None:
    """Wait until the rule is in force and the place is taken."""
    end = time.monotonic() + _LIMIT_S
    code = 0
    while code != 429:
        assert time.monotonic() < end, f"the answer is still {code}"
        try:
            plane.request("GET", "/api/v1/namespaces/default", token=NOBODY)
        except Refused as no:
            code = no.code
        time.sleep(0.1)


def _level() -> dict[str, object]:
    return {
        "metadata": {"name": _NAME},
        "spec": {
            "type": "Limited",
            "limited": {
                "nominalConcurrencyShares": 0,
                "lendablePercent": 0,
                "borrowingLimitPercent": 0,
                "limitResponse": {"type": "Reject"},
            },
        },
    }


def _flow() -> dict[str, object]:
    everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True}
    return {
        "metadata": {"name": _NAME},
        "spec": {
            "matchingPrecedence": 2,
            "priorityLevelConfiguration": {"name": _NAME},
            "rules": [
                {
                    "subjects": [{"kind": "User", "user": {"name": "nobody"}}],
                    "resourceRules": [everything | {"namespaces": ["*"]}],
                }
            ],
        },
    }
