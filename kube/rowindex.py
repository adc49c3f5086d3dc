"""An index of the rows of a mirrored table, in place of the library's own.

That one keeps its entries sorted, by comparisons in Python, which was a quarter of what a new
connection cost, and loses a row whose indexed map is written. All that is asked for here is the
rows with a certain key.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple


class _Column(NamedTuple):
    column: str


class Index:
    """Rows by a key, kept by the library: it calls all methods but `get`."""

    def __init__(self, columns: Sequence[str], key: Callable[[Any], Hashable]) -> None:
        """`columns` are what the key of a row is made of."""
        self.columns = [_Column(each) for each in columns]
        self._key = key
        self._keys: dict[int, Hashable] = {}
        """By the identity of the row: there may be a second one with its UUID for a moment."""
        self._rows: defaultdict[Hashable, dict[int, Any]] = defaultdict(dict)

    def get(self, key: Hashable) -> list[Any]:
        """The rows that have a key."""
        return list(self._rows.get(key, {}).values())

    def add(self, row: Any) -> None:
        """A row is there. A new one of a transaction comes again once its columns are set."""
        try:
            key = self._key(row)
        except AttributeError:
            return
        self._keys[id(row)] = key
        self._rows[key][id(row)] = row

    def remove(self, row: Any) -> None:
        """A row has gone, or is about to change."""
        key = self._keys.pop(id(row), None)
        rows = self._rows.get(key, {})
        rows.pop(id(row), None)
        if not rows:
            self._rows.pop(key, None)

    def clear(self) -> None:
        """All rows have gone."""
        self._keys.clear()
        self._rows.clear()
