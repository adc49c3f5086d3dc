"""Records on their way to standard output: in order, never waiting, every loss counted."""

import os
import resource
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import eventually
from vegd.observer.writer import RecordWriter


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for each in ends:
        try:
            os.close(each)
        except OSError:
            continue


def lines(count: int, size: int = 10) -> list[bytes]:
    return [f"{number:0{size - 1}}\n".encode() for number in range(count)]


def read_all(descriptor: int) -> bytes:
    parts = []
    while part := os.read(descriptor, 65_536):
        parts.append(part)
    return b"".join(parts)


def test_lines_are_written_in_order_and_to_the_last_when_it_closes(pipe: tuple[int, int]) -> None:
    readable, writable = pipe
    writer = RecordWriter(writable)
    wanted = lines(3_000)
    for number, each in enumerate(wanted):
        writer.put("end" if number % 3 else "start", each)
    assert writer.close(within_s=60) == 0
    os.close(writable)
    assert read_all(readable) == b"".join(wanted)
    assert writer.written == {"start": 1_000, "end": 2_000}
    assert not writer.drops.total()


def test_a_pipe_that_nobody_reads_holds_nobody_up_and_its_losses_are_counted(
    pipe: tuple[int, int],
) -> None:
    readable, writable = pipe
    writer = RecordWriter(writable, capacity=100)
    wanted = lines(2_000, size=1_000)
    for each in wanted:
        writer.put("start", each)  # would never return if it waited
    assert writer.drops["queue_full"] > 0
    left = writer.close(within_s=0.2)
    # What stays is in the queue and in the batch that is being written.
    assert left + writer.written.total() + writer.drops["queue_full"] == len(wanted)
    assert left > 0
    # With a reader it goes on where it was.
    found = bytearray()
    done = threading.Thread(target=lambda: found.extend(read_all(readable)))
    done.start()
    eventually(lambda: writer.written.total() + writer.drops["queue_full"] == len(wanted), "all")
    os.close(writable)
    done.join(60)
    kept = found.splitlines(keepends=True)
    assert len(kept) == writer.written["start"]
    assert kept == sorted(kept)


def test_a_pipe_without_a_reader_is_an_error_for_each_line(pipe: tuple[int, int]) -> None:
    readable, writable = pipe
    os.close(readable)
    writer = RecordWriter(writable)
    for each in lines(10):
        writer.put("end", each)
    assert writer.close(within_s=60) == 0
    assert (writer.drops["write_error"], writer.written.total()) == (10, 0)


def test_a_descriptor_that_does_not_wait_is_waited_for(pipe: tuple[int, int]) -> None:
    readable, writable = pipe
    os.set_blocking(writable, False)
    writer = RecordWriter(writable)
    wanted = lines(1_000, size=1_000)
    for each in wanted:
        writer.put("start", each)
    found = bytearray()
    done = threading.Thread(target=lambda: found.extend(read_all(readable)))
    done.start()
    assert writer.close(within_s=60) == 0
    os.close(writable)
    done.join(60)
    assert bytes(found) == b"".join(wanted)


def test_a_line_that_was_torn_is_ended_before_the_next(tmp_path: Path) -> None:
    """A file that may not grow stands for a disk that is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with (tmp_path / "records").open("wb") as file:
        writer = RecordWriter(file.fileno())
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (25, limits[1]))
            for each in lines(4):
                writer.put("start", each)
            eventually(lambda: writer.written.total() + writer.drops.total() == 4, "settled")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, before)
        assert (writer.written["start"], writer.drops["write_error"]) == (2, 2)
        writer.put("end", b"later\n")
        assert writer.close(within_s=60) == 0
    first, second, torn, last = (tmp_path / "records").read_bytes().splitlines()
    assert [first + b"\n", second + b"\n"] == lines(2)
    assert (torn, last) == (b"00000", b"later")
