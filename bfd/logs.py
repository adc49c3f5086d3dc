"""Log lines that never hold up the program: text for a terminal, JSON for everything else.

`configure` sends the root logger to standard error through a bounded queue and a thread of its
own. When the reader of standard error is stuck the queue fills up, and what does not fit is
counted and dropped; the count is written as soon as there is room again. Fields for machines go
into ``extra={"fields": {...}}``.
"""

import atexit
import contextlib
import json
import logging
import queue
import sys
import threading
import time
from typing import Any, TextIO

_CAPACITY = 2048
_FLUSH_S = 1.0


class TextFormatter(logging.Formatter):
    """One line for a person: time, level, message."""

    def format(self, record: logging.LogRecord) -> str:
        """Fields are left out: the message says the same in words."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{clock}.{int(record.msecs):03d} {record.levelname.lower():7} {record.getMessage()}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object per line: ts (seconds since 1970), level, logger, msg, and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Fields are added at the top level, and cannot replace the four of every line."""
        document: dict[str, Any] = dict(getattr(record, "fields", {}))
        document |= {
            "ts": round(record.created, 6),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document, default=str)


class QueueingHandler(logging.Handler):
    """Formats at once, writes later: see the module."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._queue: queue.Queue[str | None] = queue.Queue(_CAPACITY)
        self._thread = threading.Thread(target=self._write, name="log writer", daemon=True)
        self._overflow = 0
        self.dropped = 0
        """Lines lost so far."""
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the line, or count it as lost."""
        try:
            line = self.format(record)
        except Exception:
            # A bad log call must not end its caller.
            self.handleError(record)
            return
        try:
            self._queue.put_nowait(line)
        except queue.Full:
            self.dropped += 1
            self._overflow += 1

    def close(self) -> None:
        """Write what is queued, waiting a second at most, and stop the thread."""
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=_FLUSH_S)
            self._thread.join(_FLUSH_S)
        super().close()

    def _write(self) -> None:
        while (line := self._queue.get()) is not None:
            lost, self._overflow = self._overflow, 0
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(line + "\n")
                if lost:
                    self._stream.write(self._complaint(lost) + "\n")
                self._stream.flush()

    def _complaint(self, lost: int) -> str:
        record = logging.LogRecord(
            __name__, logging.WARNING, __file__, 0, "%d log lines were lost here", (lost,), None
        )
        return self.format(record)


def configure(level: str = "info", format: str = "auto") -> QueueingHandler:  # noqa: A002  the option's name
    """Send all logging to standard error; call it again to change it.

    `level` is a name of the logging module in any case; `format` is "text", "json", or "auto"
    (text on a terminal). Raises ValueError.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"log level: {level!r} is none of debug, info, warning, error")
    if format == "auto":
        format = "text" if sys.stderr.isatty() else "json"  # noqa: A001
    if format not in {"text", "json"}:
        raise ValueError(f"log format: {format!r} is none of auto, text, json")
    handler = QueueingHandler(sys.stderr)
    handler.setFormatter(TextFormatter() if format == "text" else JsonFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old, QueueingHandler):
            root.removeHandler(old)
            atexit.unregister(old.close)
            old.close()
    root.addHandler(handler)
    root.setLevel(number)
    atexit.register(handler.close)
    return handler
