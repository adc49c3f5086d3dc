"""Long histories of two engines on a bad network, in virtual time, each made from one number.

``python -m tests.support.worlds --seed 7`` runs world 7 again, step for step; ``--count`` goes on
with the worlds after it and ``--steps`` says how long each is. A step is one packet that arrives or
one deadline that is due. Whatever promise is broken ends the run with the world's number.

A world has intervals, multipliers and perhaps authentication of its own, and weathers that follow
each other: fair, gentle (the network may do what must not take a session down), foul (it may do
anything) and cut off. In fair weather timers are changed and an engine is restarted. Each packet is
checked by `tests.support.bfd.Link`; the rest is here.
"""

import argparse
import itertools
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

from bfd.actions import StateChanged
from bfd.auth import AuthType
from bfd.config import SessionConfig
from bfd.engine import Effect
from bfd.fsm import Diagnostic, State
from bfd.session import Session
from tests.support.bfd import FAST, Link, Node, Weather
from tests.support.bfd_auth import a_key, authenticated

SECOND = 1_000_000
STEPS = 25_000
_INTERVALS_US = (20_000, 50_000, 100_000, 300_000)
_LONGEST_DELAY_US = 2 * SECOND


@dataclass
class Gentle(Weather):
    """Loses no more than `most` packets in a row."""

    most: int = 0
    lost: int = 0

    def loses(self, rng: random.Random) -> bool:
        """Whether the next packet is lost."""
        self.lost = self.lost + 1 if self.lost < self.most and rng.random() < 0.4 else 0
        return self.lost > 0


class World(Link):
    """Two engines, and what happens to them because of `seed`."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(f"world {seed}")
        config = replace(
            FAST,
            desired_min_tx_us=rng.choice(_INTERVALS_US),
            required_min_rx_us=rng.choice(_INTERVALS_US),
            detect_mult=rng.randint(2, 5),
        )
        if rng.random() < 0.3:
            config = authenticated(a_key(kind=rng.choice(list(AuthType))), config=config)
        self.may_fall = True
        self._shortest_us = {"A": config.required_min_rx_us, "B": config.required_min_rx_us}
        super().__init__(seed, config)

    def live(self, steps: int) -> None:
        """One weather after the other for so many steps."""
        parts: list[Callable[[], None]] = [self._fair, self._gentle, self._foul, self._cut]
        while self.steps < steps:
            self.rng.choice(parts)()

    def put(self, node: Node, config: SessionConfig) -> None:
        self._shortest_us[node.name] = min(self._shortest_us[node.name], config.required_min_rx_us)
        super().put(node, config)

    def _settle(self) -> None:
        """Fair weather until old packets are gone: both are Up, and nothing is left to ask.

        An end that has missed too many sequence numbers takes any only after two detection times
        (AuthSeqKnown, RFC 5880 6.8.1), of five seconds each at most.
        """
        self.may_fall = True
        self.weather = {"A": Weather(), "B": Weather()}
        self.run(_LONGEST_DELAY_US + 14 * SECOND)
        assert self.states == (State.UP, State.UP), f"{self.states} in fair weather"
        for node in (self.a, self.b):
            assert not self.session(node).negotiation.is_asking, "a poll without end"
        self.may_fall = False

    def _fair(self) -> None:
        self._settle()
        for _ in range(4):
            node = self.rng.choice([self.a, self.b])
            desired, required = self.rng.choices(_INTERVALS_US, k=2)
            self.put(
                node,
                replace(
                    self.session(node).config,
                    desired_min_tx_us=desired,
                    required_min_rx_us=required,
                ),
            )
            self.run(self.rng.choice([1_000, 200_000, 5 * SECOND]))
        if self.rng.random() < 0.3:
            self.may_fall = True
            config = self.session(self.b).config
            self.b.engine = self._engine(b"b" * 32)
            super().put(self.b, config)
        self._settle()

    def _gentle(self) -> None:
        """Fewer than multiplier - 1 in a row are lost; delay varies by less than an interval."""
        self._settle()
        shortest = min(self.session(node).tx_interval_us for node in (self.a, self.b))
        for node in (self.a, self.b):
            most = self.session(node).config.detect_mult - 2
            self.weather[node.name] = Gentle(
                doubling=0.2, delay_us=(100, shortest * 9 // 10), most=most
            )
        # Meticulous numbers refuse what was overtaken: to the session that is loss as well.
        auth = self.session(self.a).config.auth
        if auth is not None:
            for weather in self.weather.values():
                weather.delay_us = (100, 200)
        self.run(self.rng.randint(20, 80) * SECOND)
        assert self.states == (State.UP, State.UP)

    def _foul(self) -> None:
        self.may_fall = True
        for name in ("A", "B"):
            self.weather[name] = Weather(
                loss=self.rng.choice([0, 0.1, 0.5, 0.9]),
                doubling=self.rng.choice([0, 0.5]),
                delay_us=(100, self.rng.choice([200, 50_000, 400_000, _LONGEST_DELAY_US])),
            )
        self.run(self.rng.randint(10, 40) * SECOND)

    def _cut(self) -> None:
        """Silence: both go Down, and exactly when they must."""
        self._settle()
        self.may_fall = True
        for name in self.rng.choice([("A",), ("B",), ("A", "B")]):
            self.weather[name] = Weather(loss=1.0)
        before = {n.name: self.session(n).detection_time_us for n in (self.a, self.b)}
        first = {n.name: len(n.changed) for n in (self.a, self.b)}
        self.run(8 * SECOND)
        assert State.UP not in self.states, "a peer that is not heard is taken for alive"
        for node in (self.a, self.b):
            at, change = node.changed[first[node.name]]
            if change.diag is Diagnostic.CONTROL_DETECTION_TIME_EXPIRED:
                silence = at - self.heard_us[node.name]
                assert silence == before[node.name], f"{node.name}: Down after {silence} us"

    def _perform(self, node: Node, effect: Effect) -> None:
        session, actions = effect
        for action in actions:
            if isinstance(action, StateChanged) and action.old is State.UP:
                self._fell(node, session, action)
        super()._perform(node, effect)

    def _fell(self, node: Node, session: Session, change: StateChanged) -> None:
        assert self.may_fall, f"{node.name} went Down: {change}"
        if change.diag is Diagnostic.CONTROL_DETECTION_TIME_EXPIRED:
            silence = self.now_us - self.heard_us[node.name]
            least = session.remote_detect_mult * self._shortest_us[node.name]
            assert silence >= least, f"{node.name}: early, after {silence} us"


def main(arguments: list[str]) -> int:
    """Run worlds; 0 if every promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.worlds")
    parser.add_argument("--seed", type=int, default=0, help="the first world")
    parser.add_argument("--count", type=int, default=1, help="how many worlds; 0: without end")
    parser.add_argument("--stride", type=int, default=1, help="from one world to the next")
    parser.add_argument("--steps", type=int, default=STEPS, help="length of each, in steps")
    options = parser.parse_args(arguments)
    seeds = itertools.count(options.seed, options.stride)
    total = 0
    for seed in itertools.islice(seeds, options.count or None):
        world = World(seed)
        try:
            world.live(options.steps)
        except Exception:
            command = f"python -m tests.support.worlds --seed {seed} --steps {options.steps}"
            print(f"world {seed} FAILED at step {world.steps}, again by: {command}", flush=True)
            raise
        total += world.steps
        print(f"world {seed}: {world.steps} steps", flush=True)
    print(f"{total} steps", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
