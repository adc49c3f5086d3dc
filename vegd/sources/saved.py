"""The gateway that ``vegd init`` has made, as it leaves it to the pod's main container.

The main container is not told by Kube-OVN what its gateway is; a volume that both containers share
is the only way. The file is a configuration of vegd, so that every command of vegd reads it; its
first line says in which form it is, and what follows is JSON, which is YAML and read in less time.
All of it is believed or nothing: who may write to the volume besides root could otherwise say what
is forwarded.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import msgspec

from vegd import __version__
from vegd.errors import VegdError
from vegd.replacing import replace
from vegd.sources.environ import Gateway, Routing
from vegd.spec import GatewaySpec, SpecError, read_stream

VARIABLE = "VEGD_GATEWAY_FILE"
_FILE = "/usr/local/sbin/vegd-gateway.yaml"
"""In the one volume that all versions of Kube-OVN give to both containers."""
_FORM = "# vegd init, form 1: "
_GATEWAY, _ROUTING = "gateway", "routing only"
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class NotKept(VegdError):
    """There is no gateway that could be kept; the message says why."""


def saved_file(environ: Mapping[str, str]) -> Path:
    """Where it is."""
    return Path(environ.get(VARIABLE) or _FILE)


def save(path: Path, made: Gateway | Routing) -> None:
    """Leave it there, whole or not at all. Raises VegdError."""
    kind = _ROUTING if isinstance(made, Routing) else _GATEWAY
    document = {} if isinstance(made, Routing) else made.document
    head = f"{_FORM}{kind} (vegd {__version__}, for the main container)\n"
    content = head.encode() + msgspec.json.format(msgspec.json.encode(document)) + b"\n"
    try:
        replace(path, content)
    except OSError as exc:
        raise VegdError(
            f"{path}: the gateway cannot be left to the main container ({exc.strerror}); "
            "make the directory writable"
        ) from exc


def saved(path: Path) -> GatewaySpec:
    """The gateway that was left there. Raises NotKept."""
    first, _, text = _read(path).partition(b"\n")
    head = first.decode(errors="replace")
    if head.startswith(f"{_FORM}{_ROUTING} "):
        raise NotKept("with BGP packets are only routed, and the speaker keeps the routes")
    if not head.startswith(f"{_FORM}{_GATEWAY} "):
        raise NotKept(f"{path} was not left by a 'vegd init' of this version")
    try:
        return GatewaySpec.parse(msgspec.json.decode(text))
    except (msgspec.DecodeError, SpecError) as exc:
        problem = str(exc).replace("\n", "; ")
        raise NotKept(f"{path} has faults ({problem})") from exc


def _read(path: Path) -> bytes:
    try:
        with os.fdopen(os.open(path, _FLAGS), "rb") as file:
            seen = os.fstat(file.fileno())
            if not stat.S_ISREG(seen.st_mode) or seen.st_uid or seen.st_mode & 0o022:
                raise NotKept(f"{path} is not root's alone to write")
            data, faults = read_stream(file)
    except OSError as exc:
        raise NotKept(
            f"{path} cannot be read ({exc.strerror}); it is left there by 'vegd init', the init "
            "container of the same image"
        ) from exc
    if data is None:
        raise NotKept(f"{path} {'; '.join(map(str, faults))}")
    return data
