"""The configuration that the watcher brings, as a file for the agent.

Only a configuration that is good gets there: so the file is the last good one even for an agent
that has to start while the cluster has a bad one.
"""

import contextlib
from pathlib import Path

from vegd.errors import VegdError
from vegd.replacing import replace
from vegd.spec import parse_bytes


class NotFollowed(VegdError):
    """A configuration that is not handed on; one line of the message for each reason."""


def hand_on(content: bytes, path: Path) -> bool:
    """Leave it there for the agent, whole or not at all; whether it is new there.

    Raises:
        NotFollowed: it has faults, or the file cannot be written.
    """
    spec, faults = parse_bytes(content)
    if spec is None:
        raise NotFollowed("\n".join(map(str, faults)))
    with contextlib.suppress(OSError):
        if path.read_bytes() == content:
            return False
    try:
        replace(path, content)
    except OSError as exc:
        raise NotFollowed(f"{path}: cannot be written ({exc.strerror})") from exc
    return True
