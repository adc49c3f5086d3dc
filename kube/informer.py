"""A local copy of what a query matches, kept by listing and watching.

`Mirror` is the machine and pure: it says whether to list or to watch and from which version, and
turns what comes into changes. `follow` is one attempt with a client: it ends when the watch does,
and whoever calls it decides when to go on. An attempt that goes on from where the last one ended
misses nothing; one that had to list again finds what has gone meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from kube.errors import Gone
from kube.objects import Happened, Item, Listing, Notice, Query

if TYPE_CHECKING:
    from kube.client import Client

T = TypeVar("T")


class Upserted(NamedTuple, Generic[T]):
    """An object is new or has changed."""

    item: Item[T]
    before: Item[T] | None


class Deleted(NamedTuple, Generic[T]):
    """An object has gone; `item` is how it was last seen."""

    item: Item[T]


class Synced(NamedTuple):
    """The copy is complete: everything there was has been told."""


class LeftOut(NamedTuple):
    """An object cannot be read; its last version that could be stays, if there was one."""

    key: str
    why: str


Change = Upserted[T] | Deleted[T] | Synced
Told = Change[T] | LeftOut


class Mirror(Generic[T]):
    """The copy. `items` is by ``NAMESPACE/NAME``, for everybody to read."""

    def __init__(self) -> None:
        self.items: dict[str, Item[T]] = {}
        self.unfit: dict[str, str] = {}
        """Why objects cannot be read, by ``NAMESPACE/NAME``."""
        self.resource_version = ""
        """Where a watch goes on; empty: list first."""
        self.is_synced = False
        """Whether it has been complete once; it is at most old since then."""
        self.lists = 0
        """How many listings it took."""

    def listed(self, listing: Listing[T]) -> Iterator[Told[T]]:
        """What a listing changes; told are differences only."""
        self.lists += 1
        self.resource_version = listing.resource_version
        now = {item.key: item for item in listing.items}
        unfit = {Item(each.metadata, None).key: each.why for each in listing.unfit}
        for key in self.items.keys() - now.keys() - unfit.keys():
            yield Deleted(self.items.pop(key))
        for key in self.unfit.keys() - unfit.keys():
            del self.unfit[key]
        for key, why in unfit.items():
            yield from self._leave_out(key, why)
        for item in now.values():
            yield from self._take(item)
        self.is_synced = True
        yield Synced()

    def told(self, notice: Notice[T]) -> Iterator[Told[T]]:
        """What a line of a watch changes."""
        item, value = notice.item, notice.item.value
        self.resource_version = item.metadata.resource_version
        if notice.happened is Happened.DELETED:
            self.unfit.pop(item.key, None)
            last = self.items.pop(item.key, None)
            if last is not None:
                yield Deleted(last if value is None else Item(item.metadata, value))
        elif notice.why:
            yield from self._leave_out(item.key, notice.why)
        elif value is not None:
            self.unfit.pop(item.key, None)
            yield from self._take(Item(item.metadata, value))

    def must_list(self) -> None:
        """The version is too old for the API server, or the copy is to be compared anew."""
        self.resource_version = ""

    def _leave_out(self, key: str, why: str) -> Iterator[LeftOut]:
        if self.unfit.get(key) != why:
            self.unfit[key] = why
            yield LeftOut(key, why)

    def _take(self, item: Item[T]) -> Iterator[Change[T]]:
        before = self.items.get(item.key)
        if before is not None and before.metadata.uid != item.metadata.uid:
            # Deleted and made again while nobody looked: another object of the same name.
            yield Deleted(before)
            before = None
        if before is None or before.metadata.resource_version != item.metadata.resource_version:
            self.items[item.key] = item
            yield Upserted(item, before)


async def follow(
    client: Client,
    query: Query,
    kind: type[T],
    mirror: Mirror[T],
    on_change: Callable[[Told[T]], None],
    lasts_s: float,
) -> None:
    """List if it must be, then watch for `lasts_s` at most, telling each change.

    Raises:
        Gone: the version was too old; the next attempt will list.
        KubeError: as of `Client.list` and `Client.watch`; the copy stays as it is.
    """
    try:
        if not mirror.resource_version:
            for change in mirror.listed(await client.list(query, kind)):
                on_change(change)
        async for notice in client.watch(query, kind, mirror.resource_version, lasts_s):
            for change in mirror.told(notice):
                on_change(change)
    except Gone:
        mirror.must_list()
        raise
