"""The mirror as a machine: what a listing and a watch change, and where it goes on."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.informer import Deleted, LeftOut, Mirror, Synced, Told, Upserted
from kube.objects import Happened, Item, Listing, Metadata, Notice, Unfit


def _item(name: str, version: int, uid: str = "u") -> Item[str]:
    return Item(Metadata(name, "ns", uid, str(version)), f"{name}@{version}")


def _listing(version: int, *items: Item[str]) -> Listing[str]:
    return Listing(items, str(version))


def _told(mirror: Mirror[str], happened: Happened, item: Item[str]) -> list[Told[str]]:
    return list(mirror.told(Notice(happened, item)))


@pytest.fixture
def mirror() -> Mirror[str]:
    mirror: Mirror[str] = Mirror()
    list(mirror.listed(_listing(5, _item("a", 1), _item("b", 2))))
    return mirror


def test_the_first_listing_tells_everything_and_then_that_it_is_complete() -> None:
    mirror: Mirror[str] = Mirror()
    assert (mirror.resource_version, mirror.is_synced) == ("", False)
    told = list(mirror.listed(_listing(5, _item("a", 1), _item("b", 2))))
    assert told == [Upserted(_item("a", 1), None), Upserted(_item("b", 2), None), Synced()]
    assert (mirror.resource_version, mirror.is_synced) == ("5", True)
    assert set(mirror.items) == {"ns/a", "ns/b"}


def test_a_later_listing_tells_the_differences_only(mirror: Mirror[str]) -> None:
    told = list(mirror.listed(_listing(9, _item("b", 8), _item("c", 9))))
    assert told == [
        Deleted(_item("a", 1)),
        Upserted(_item("b", 8), _item("b", 2)),
        Upserted(_item("c", 9), None),
        Synced(),
    ]


def test_an_object_that_was_made_again_is_another_one(mirror: Mirror[str]) -> None:
    again = _item("a", 7, uid="v")
    assert _told(mirror, Happened.MODIFIED, again) == [
        Deleted(_item("a", 1)),
        Upserted(again, None),
    ]
    assert list(mirror.listed(_listing(9, _item("a", 8, "w"), _item("b", 2)))) == [
        Deleted(again),
        Upserted(_item("a", 8, "w"), None),
        Synced(),
    ]


def test_what_a_watch_tells_twice_is_told_once(mirror: Mirror[str]) -> None:
    assert _told(mirror, Happened.ADDED, _item("a", 1)) == []
    assert _told(mirror, Happened.DELETED, _item("c", 9)) == []


def test_a_deleted_object_is_told_as_it_was_last(mirror: Mirror[str]) -> None:
    assert _told(mirror, Happened.DELETED, _item("a", 6)) == [Deleted(_item("a", 6))]
    assert set(mirror.items) == {"ns/b"}


def test_a_bookmark_moves_the_version_and_nothing_else(mirror: Mirror[str]) -> None:
    before = dict(mirror.items)
    mark = Notice[str](Happened.BOOKMARK, Item(Metadata(resource_version="77"), None))
    assert list(mirror.told(mark)) == []
    assert (mirror.resource_version, mirror.items) == ("77", before)


def test_having_to_list_again_keeps_the_copy(mirror: Mirror[str]) -> None:
    mirror.must_list()
    assert mirror.resource_version == ""
    assert mirror.is_synced
    assert set(mirror.items) == {"ns/a", "ns/b"}


_WORLDS = st.lists(
    st.dictionaries(st.sampled_from("abc"), st.tuples(st.integers(0, 3), st.sampled_from("uv"))),
    min_size=1,
    max_size=8,
)


@given(_WORLDS)
def test_whoever_follows_the_changes_has_the_same_copy(
    worlds: Sequence[dict[str, tuple[int, str]]],
) -> None:
    mirror: Mirror[str] = Mirror()
    follower: dict[str, Item[str]] = {}
    for world in worlds:
        items = [_item(name, version, uid) for name, (version, uid) in world.items()]
        for change in mirror.listed(_listing(1, *items)):
            match change:
                case Upserted(item, before):
                    assert follower.get(item.key) == before
                    follower[item.key] = item
                case Deleted(item):
                    assert follower.pop(item.key) == item
        assert follower == mirror.items == {item.key: item for item in items}


def _unfit(name: str, version: int, why: str) -> Notice[str]:
    metadata = Metadata(name, "ns", "u", str(version))
    return Notice(Happened.MODIFIED, Item(metadata, None), why)


def test_an_object_that_cannot_be_read_is_told_once_and_stays_as_it_was(
    mirror: Mirror[str],
) -> None:
    assert [*mirror.told(_unfit("a", 3, "odd"))] == [LeftOut("ns/a", "odd")]
    assert [*mirror.told(_unfit("a", 4, "odd"))] == []
    assert mirror.items["ns/a"] == _item("a", 1)
    assert _told(mirror, Happened.MODIFIED, _item("a", 5)) == [
        Upserted(_item("a", 5), _item("a", 1))
    ]
    assert mirror.unfit == {}


def test_an_object_that_never_could_be_read_is_left_out_until_it_goes(
    mirror: Mirror[str],
) -> None:
    new = Unfit(Metadata("new", "ns", "u", "6"), "odd")
    listing = Listing([_item("a", 1), _item("b", 2)], "6", [new])
    assert [*mirror.listed(listing)] == [LeftOut("ns/new", "odd"), Synced()]
    assert [*mirror.listed(listing)] == [Synced()]
    assert mirror.items.keys() == {"ns/a", "ns/b"}
    gone = Notice(Happened.DELETED, Item(new.metadata, None), "odd")
    assert [*mirror.told(gone)] == []
    assert mirror.unfit == {}


def test_an_object_that_can_no_longer_be_read_goes_when_it_is_deleted(
    mirror: Mirror[str],
) -> None:
    assert [*mirror.told(_unfit("a", 3, "odd"))] == [LeftOut("ns/a", "odd")]
    assert [*mirror.listed(_listing(9, _item("b", 2)))] == [Deleted(_item("a", 1)), Synced()]
    assert mirror.unfit == {}
