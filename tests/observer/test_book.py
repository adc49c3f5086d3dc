"""The book against a model of the kernel that loses events: what is told, and what is counted."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane.conntrack_events import Counters, Tracked
from tests.support.connections import numbered
from vegd.observer.book import FlowBook, News
from vegd.observer.words import Kind

UDP = Kind("ipv4", "udp", "snat")


class Model:
    """Connections that begin, carry packets and end, events on their way, and a book that reads."""

    def __init__(self, seed: int, loss: float, capacity: int = 1_000) -> None:
        self.book = FlowBook(capacity)
        self.told: Counter[tuple[str, int]] = Counter()
        self.table: dict[int, int] = {}
        """Packets each way by number."""
        self.packets = 0
        self.ever = 0
        self._random = random.Random(seed)
        self._loss = loss
        self._queue: list[tuple[bool, Tracked]] = []
        self._has_lost = False

    def step(self) -> None:
        """Something happens."""
        what = self._random.randrange(10)
        if what < 4:
            self.ever += 1
            self.table[self.ever] = 0
            self._send(True, numbered(self.ever))
        elif what < 6 and self.table:
            number = self._random.choice([*self.table])
            packets = self.table.pop(number)
            self._send(False, numbered(number, _counters(packets)))
        elif what < 8 and self.table:
            self.table[self._random.choice([*self.table])] += 3
            self.packets += 3
        elif self._queue:
            self._deliver()

    def _send(self, is_new: bool, tracked: Tracked) -> None:
        if self._random.random() < self._loss:
            self._has_lost = True
        else:
            self._queue.append((is_new, tracked))

    def _deliver(self) -> None:
        is_new, tracked = self._queue.pop(0)
        self._hear(self.book.begins(tracked) if is_new else self.book.ends(tracked))

    def _hear(self, news: "list[News] | object") -> None:
        for event, tracked in news:  # type: ignore[attr-defined]
            self.told[event, tracked.number] += 1

    def drain(self) -> None:
        while self._queue:
            self._deliver()

    def look(self, quietly: bool = False) -> None:
        """The whole table, while things happen."""
        had_lost, self._has_lost = self._has_lost, False
        self.book.look_begins()
        steps = 0 if quietly else 2 * len(self.table) + 5
        seen: set[int] = set()
        # What begins meanwhile may be come upon, too.
        while rest := [each for each in self.table if each not in seen]:
            number = self._random.choice(rest)
            seen.add(number)
            self.book.found(numbered(number, _counters(self.table[number])))
            if steps:
                steps -= 1
                self.step()
        self.drain()
        self._hear(self.book.look_ends(lost=had_lost or self._has_lost))


def _counters(packets: int) -> Counters:
    return Counters(packets, packets * 100, packets, packets * 10)


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.1, 0.5]), st.integers(0, 30))
def test_whatever_is_lost_the_next_look_puts_right(seed: int, loss: float, before: int) -> None:
    model = Model(seed, loss)
    for _ in range(before):
        model.table[model.ever + 1] = 7
        model.ever += 1
    model.look(quietly=True)
    for _ in range(4):
        for _ in range(30):
            model.step()
        model.look()
    model.drain()
    model.look(quietly=True)
    book, told = model.book, model.told
    assert len(book) == book.active.total() == len(model.table)
    assert max(told.values(), default=0) <= 1
    for number in range(1, model.ever + 1):
        begun, ended = told["start", number], told["end", number]
        if number in model.table:
            assert (begun, ended) == (number > before, 0)
        elif begun or not loss:
            assert ended == 1
    assert book.started.total() == sum(n for (event, _), n in told.items() if event == "start")
    assert book.ended.total() == sum(n for (event, _), n in told.items() if event == "end")
    if not loss:
        assert book.packets[UDP, "original"] <= model.packets
        assert told == {("start", n): 1 for n in range(before + 1, model.ever + 1)} | {
            ("end", n): 1 for n in range(1, model.ever + 1) if n not in model.table
        }


def test_packets_and_bytes_are_counted_once_by_looks_and_ends() -> None:
    book = FlowBook()
    list(book.begins(numbered(1)))
    book.look_begins()
    book.found(numbered(1, Counters(2, 200, 1, 100)))
    book.found(numbered(9, Counters(50, 5_000, 50, 5_000)))
    assert list(book.look_ends(lost=False)) == []
    list(book.ends(numbered(1, Counters(5, 500, 4, 400))))
    list(book.ends(numbered(9, Counters(51, 5_010, 50, 5_000))))
    assert book.packets == {(UDP, "original"): 5 + 1, (UDP, "reply"): 4}
    assert book.octets == {(UDP, "original"): 500 + 10, (UDP, "reply"): 400}


def test_what_a_look_after_a_loss_finds_is_told_and_its_late_event_is_not_told_again() -> None:
    book = FlowBook()
    book.look_begins()
    book.found(numbered(1, Counters(2, 200, 1, 100)))
    assert list(book.look_ends(lost=True)) == [("start", numbered(1))]
    assert book.packets[UDP, "original"] == 2
    assert list(book.begins(numbered(1))) == []
    assert (book.started.total(), book.active[UDP]) == (1, 1)


def test_what_was_there_before_us_has_no_beginning_and_an_end() -> None:
    book = FlowBook()
    for _ in range(2):
        book.look_begins()
        book.found(numbered(1))
        assert list(book.look_ends(lost=False)) == []
    book.look_begins()
    assert list(book.look_ends(lost=False)) == [("end", numbered(1))]
    assert (book.started.total(), book.ended[UDP], book.active[UDP]) == (0, 1, 0)


def test_a_number_that_is_used_again_ends_the_connection_before() -> None:
    book = FlowBook()
    list(book.begins(numbered(1)))
    assert [event for event, _ in book.begins(numbered(1))] == ["end", "start"]
    assert (book.started[UDP], book.ended[UDP], book.active[UDP], len(book)) == (2, 1, 1, 1)


def test_an_end_without_a_beginning_is_told() -> None:
    book = FlowBook()
    assert list(book.ends(numbered(1))) == [("end", numbered(1))]
    assert (book.ended[UDP], book.active[UDP], len(book)) == (1, 0, 0)


def test_the_oldest_makes_way_and_a_look_does_not_bring_it_back_while_there_is_no_room() -> None:
    book = FlowBook(capacity=3)
    for number in range(1, 6):
        list(book.begins(numbered(number)))
    assert (len(book), book.evictions, book.active[UDP], book.started[UDP]) == (3, 2, 3, 5)
    book.look_begins()
    for number in range(1, 6):
        book.found(numbered(number))
    assert list(book.look_ends(lost=True)) == []
    assert (len(book), book.evictions) == (3, 2)
    assert list(book.ends(numbered(1))) == [("end", numbered(1))]
    assert (len(book), book.ended[UDP]) == (3, 1)


def test_to_clear_keeps_the_sums() -> None:
    book = FlowBook()
    list(book.begins(numbered(1)))
    book.clear()
    assert (len(book), book.active.total(), book.started[UDP]) == (0, 0, 1)


@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_a_small_book_never_holds_more_than_it_may(loss: float) -> None:
    model = Model(1, loss, capacity=5)
    for _ in range(300):
        model.step()
    model.look()
    assert len(model.book) == model.book.active.total() <= 5
    assert model.book.evictions
