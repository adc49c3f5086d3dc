"""Log lines: two forms, and a stuck reader that holds up nobody."""

import io
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from bfd import logs


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    logger = logging.getLogger()
    level = logger.level
    yield logger
    for handler in logger.handlers[:]:
        if isinstance(handler, logs.QueueingHandler):
            logger.removeHandler(handler)
            handler.close()
    logger.setLevel(level)


def written(form: str, emit: str) -> list[str]:
    code = f"import logging; from bfd import logs; logs.configure('info', {form!r}); {emit}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stderr.splitlines()


def test_json_lines_carry_the_fields() -> None:
    (line,) = written(
        "auto", "logging.getLogger('x').info('hello %s', 1, extra={'fields': {'peer': 'p'}})"
    )
    document = json.loads(line)
    assert document.pop("ts") > 1_600_000_000
    assert document == {"level": "info", "logger": "x", "msg": "hello 1", "peer": "p"}


def test_text_lines_are_for_people() -> None:
    (line,) = written("text", "logging.warning('hello %s', 1)")
    assert line.endswith("warning hello 1")


def test_fields_cannot_replace_the_message() -> None:
    (line,) = written("json", "logging.info('real', extra={'fields': {'msg': 'fake'}})")
    assert json.loads(line)["msg"] == "real"


def test_levels_below_are_left_out() -> None:
    assert written("json", "logging.debug('no')") == []


@pytest.mark.parametrize(("level", "form"), [("loud", "text"), ("info", "xml")])
def test_a_bad_option_is_named(level: str, form: str) -> None:
    with pytest.raises(ValueError, match=f"{level if level == 'loud' else form!r}"):
        logs.configure(level, form)


def test_configuring_again_replaces_the_handler(root: logging.Logger) -> None:
    logs.configure("info", "json")
    logs.configure("error", "json")
    assert len([h for h in root.handlers if isinstance(h, logs.QueueingHandler)]) == 1
    assert root.level == logging.ERROR


class Stuck(io.StringIO):
    """A stream whose reader sleeps until it is told to wake."""

    def __init__(self) -> None:
        super().__init__()
        self.awake = threading.Event()

    def write(self, text: str, /) -> int:
        self.awake.wait(10)
        return super().write(text)


def test_a_stuck_reader_loses_lines_but_no_time() -> None:
    stream = Stuck()
    handler = logs.QueueingHandler(stream)
    handler.setFormatter(logs.JsonFormatter())
    record = logging.LogRecord("x", logging.INFO, "", 0, "line", (), None)
    for _ in range(5000):
        handler.emit(record)
    assert handler.dropped > 2900
    lost = handler.dropped
    stream.awake.set()
    handler.close()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len([x for x in lines if x["msg"] == "line"]) == 5000 - lost
    assert [x["msg"] for x in lines if x["level"] == "warning"] == [
        f"{lost} log lines were lost here"
    ]


def test_a_closed_stream_does_not_end_the_writer() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stream:
        handler = logs.QueueingHandler(stream)
        handler.setFormatter(logs.TextFormatter())
        for _ in range(3):
            handler.emit(logging.LogRecord("x", logging.INFO, "", 0, "line", (), None))
        handler.close()
        # What the pipe refused is still in the buffer; throwing it away is not an error here.
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, stream.fileno())
        os.close(devnull)
