"""A file that others read is replaced whole, or not at all."""

import os
import tempfile
from pathlib import Path

_MODE = 0o644


def replace(path: Path, content: bytes) -> None:
    """Put a file that everybody may read in the place of what is there. Raises OSError."""
    # A name that nobody knows before: others may write to the directory.
    number, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), _MODE)
        Path(partial).rename(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
