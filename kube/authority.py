"""The certificate of a pod's cluster, in a file that the kubelet exchanges when it is rotated."""

import time
from pathlib import Path

_READ_S = 60.0
"""As often as the token's file is read."""


class Authority:
    """What the file holds, as far as it has been read."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._content = self._read()
        self._read_at_s = time.monotonic()

    def suspect(self) -> None:
        """A certificate of the API server was not believed: look before the time is over."""
        self._read_at_s = 0.0

    def is_another(self) -> bool:
        """Whether it is another one than the last time; looks once a minute."""
        now_s = time.monotonic()
        if self._read_at_s and now_s < self._read_at_s + _READ_S:
            return False
        self._read_at_s = now_s
        before, self._content = self._content, self._read() or self._content
        return self._content != before

    def _read(self) -> bytes:
        try:
            return self._file.read_bytes()
        except OSError:
            return b""  # it is put back in a moment
