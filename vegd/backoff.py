"""How long to wait before the next attempt: exponential, jittered, bounded. Policy, hence here."""

import random


class Backoff:
    """Waiting times in seconds: `first`, doubled up to `most`, each up to a quarter shorter."""

    def __init__(self, first: float, most: float, rng: random.Random | None = None) -> None:
        self._first = first
        self._most = most
        self._next = first
        self._rng = rng or random.Random()  # noqa: S311 - spreads retries, guards nothing

    def wait_s(self) -> float:
        """The next waiting time; each call makes the one after it longer."""
        wait = self._next
        self._next = min(wait * 2, self._most)
        return wait * (1 - self._rng.random() / 4)

    def reset(self) -> None:
        """Begin again at the first waiting time, after a success."""
        self._next = self._first
