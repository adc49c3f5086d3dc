"""Settings of the process, as opposed to the specification of the gateway.

They come from flags and the environment and hold for the life of the process; whatever may change
while the gateway runs stands in the specification (`vegd.spec`).
"""

import os
from dataclasses import dataclass
from pathlib import Path

RUNTIME_DIR_VARIABLE = "VEGD_RUNTIME_DIR"
FOLLOWED_FILE = "followed.yaml"
"""Of the watcher, in the runtime directory."""


def default_runtime_dir() -> Path:
    """The directory of sockets and keys: $VEGD_RUNTIME_DIR, else /run/vegd."""
    return Path(os.environ.get(RUNTIME_DIR_VARIABLE, "/run/vegd"))


@dataclass(frozen=True, slots=True)
class Settings:
    """What the agent needs to know besides the specification.

    Times are in seconds, as asyncio wants them.
    """

    config: Path
    """The specification's file."""
    runtime_dir: Path
    """Holds the control sockets ``agent.sock`` and ``bfd.sock`` and the discriminator key."""
    log_level: str = "info"
    log_format: str = "auto"
    debounce_s: float = 0.02
    """Notifications that come in one burst are answered by one look at the kernel."""
    resync_s: float = 30.0
    """The kernel is looked at this often even if it says nothing; a notification may be lost."""
    attempt_timeout_s: float = 15.0
    """One convergence that takes longer is given up and tried again."""
    engine_poll_s: float = 1.0
    """How often the agent makes sure that the engine is there."""

    @property
    def engine_socket(self) -> Path:
        """The engine's control socket."""
        return self.runtime_dir / "bfd.sock"

    @property
    def agent_socket(self) -> Path:
        """The agent's control socket (HTTP)."""
        return self.runtime_dir / "agent.sock"

    @property
    def followed(self) -> Path:
        """The configuration that the watcher brings."""
        return self.runtime_dir / FOLLOWED_FILE
