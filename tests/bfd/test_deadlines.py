"""The deadline queue, alone and against the plainest possible model."""

import random

from bfd.deadlines import DeadlineQueue
from bfd.timing import NEVER_US


class Item:
    def __init__(self, due_us: int) -> None:
        self.due_us = due_us
        self.queued_us = NEVER_US


def queue_of(*items: Item) -> DeadlineQueue[Item]:
    queue: DeadlineQueue[Item] = DeadlineQueue()
    for item in items:
        queue.update(item)
    return queue


def test_items_come_out_in_the_order_of_their_deadlines() -> None:
    late, early = Item(20), Item(10)
    queue = queue_of(late, early)
    assert queue.next_due_us() == 10
    assert queue.pop_due(9) == []
    assert queue.pop_due(30) == [early, late]
    assert queue.pop_due(30) == []
    assert queue.next_due_us() == NEVER_US


def test_moving_a_deadline_later_pushes_nothing() -> None:
    item = Item(10)
    queue = queue_of(item)
    for due_us in range(11, 1000):
        item.due_us = due_us
        queue.update(item)
    assert len(queue) == 1
    assert queue.pop_due(998) == []
    assert queue.pop_due(999) == [item]


def test_moving_a_deadline_earlier_takes_effect_at_once() -> None:
    item = Item(100)
    queue = queue_of(item)
    item.due_us = 50
    queue.update(item)
    assert queue.next_due_us() == 50
    assert queue.pop_due(50) == [item]
    assert queue.pop_due(1000) == []


def test_an_item_without_a_deadline_leaves_the_queue() -> None:
    item = Item(10)
    queue = queue_of(item)
    item.due_us = NEVER_US
    assert queue.next_due_us() == NEVER_US
    assert len(queue) == 0
    item.due_us = 5
    queue.update(item)
    assert queue.pop_due(5) == [item]


def test_random_histories_agree_with_a_list_that_is_searched() -> None:
    rng = random.Random(11)
    for _ in range(50):
        items = [Item(rng.randrange(100)) for _ in range(8)]
        queue = queue_of(*items)
        now = 0
        for _ in range(200):
            now += rng.randrange(10)
            assert queue.next_due_us() == min(i.due_us for i in items)
            popped = queue.pop_due(now)
            assert {id(i) for i in popped} == {id(i) for i in items if i.due_us <= now}
            for item in popped:
                item.due_us = now + 1 + rng.randrange(100)
                queue.update(item)
            for item in rng.sample(items, 3):
                item.due_us = now + 1 + rng.randrange(100)
                queue.update(item)
            assert len(queue) < 100
