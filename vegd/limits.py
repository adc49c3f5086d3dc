"""Whether a container's limits leave engine and agent enough; `make bench-pod` measures it."""

import logging
from collections.abc import Iterator

from bfd.cgroup import Throttling, memory
from vegd.errors import VegdError

log = logging.getLogger(__name__)

_MIB = 1 << 20
_LEAST_BYTES = 48 * _MIB
_COMMAND_BYTES = 29 * _MIB
_WITH_COMMANDS_BYTES = 80 * _MIB
_LEAST_CPU = 0.1


def too_small(memory_bytes: int | None, processors: float | None) -> Iterator[str]:
    """A line for each limit that is too small; None is no limit."""
    if memory_bytes is not None and memory_bytes < _LEAST_BYTES:
        yield (
            f"the memory limit of {memory_bytes // _MIB} MiB is too small: the kernel will kill "
            f"the BFD engine or the agent; give the container {_LEAST_BYTES // _MIB} MiB or more"
        )
    if processors is not None and processors < _LEAST_CPU:
        yield (
            f"the CPU limit of {processors * 1000:.0f}m is too small: the start takes many seconds "
            f"and BFD packets may be late; give the container {_LEAST_CPU * 1000:.0f}m or more"
        )


def complain() -> None:
    """Log what is too small for this process."""
    throttling = Throttling()
    try:
        processors = throttling.limit()
    finally:
        throttling.close()
    granted = memory()
    for line in too_small(granted and granted.limit, processors):
        log.warning("%s", line)


def spare_the_daemon() -> None:
    """Raises VegdError where a command would take the memory of the daemon beside it."""
    granted = memory()
    if granted is not None and granted.left < _COMMAND_BYTES:
        raise VegdError(
            f"the memory limit of {granted.limit // _MIB} MiB leaves {granted.left // _MIB} MiB, "
            f"and this command takes {_COMMAND_BYTES // _MIB}, which could end the daemon; raise "
            f"the limit to {_WITH_COMMANDS_BYTES // _MIB} MiB"
        )
