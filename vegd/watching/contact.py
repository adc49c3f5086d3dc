"""When the watcher last heard from the API server: the time of change of a file in the runtime
directory, which the watcher touches and the agent looks at."""

import contextlib
import time
from pathlib import Path

_FILE = "watch.contact"


def touch(runtime_dir: Path) -> None:
    """The API server has said something just now."""
    # A full or read-only volume is no reason to stop watching: the age that is shown then grows.
    with contextlib.suppress(OSError):
        (runtime_dir / _FILE).touch(mode=0o644)


def age_s(runtime_dir: Path) -> float | None:
    """How long ago that was; None if no watcher has ever heard anything here."""
    try:
        return max(0.0, time.time() - (runtime_dir / _FILE).stat().st_mtime)
    except OSError:
        return None
