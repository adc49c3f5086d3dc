"""Events: counted instead of repeated."""

from datetime import UTC, datetime, timedelta

from kube.events import EventLog, Kind
from kube.objects import Metadata, Object, Resource

_NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
_MAPS = Resource("", "v1", "configmaps", "ConfigMap")


class _Teller:
    def __init__(self, most: int = 4096) -> None:
        self._log = EventLog("vegd", "pod1", most)

    def tell(self, seconds: float = 0, message: str = "m", uid: str = "u") -> Object | None:
        about = Metadata("one", "ns", uid)
        now = _NOON + timedelta(seconds=seconds)
        return self._log.tell(_MAPS, about, Kind.WARNING, "Failed", message, now)


def test_the_first_is_told_at_once_with_all_that_kubectl_shows() -> None:
    event = _Teller().tell()
    assert event is not None
    assert event["metadata"]["namespace"] == "ns"
    assert event["metadata"]["name"].startswith("one.")
    assert event["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "namespace": "ns",
        "name": "one",
        "uid": "u",
    }
    assert (event["type"], event["reason"], event["message"]) == ("Warning", "Failed", "m")
    assert (event["count"], event["firstTimestamp"]) == (1, "2026-11-28T12:00:00Z")


def test_within_a_minute_it_is_only_counted_and_then_told_with_the_count() -> None:
    teller = _Teller()
    first = teller.tell()
    assert [teller.tell(seconds) for seconds in (1, 20, 59)] == [None] * 3
    later = teller.tell(60)
    assert first is not None
    assert later is not None
    assert later["metadata"] == first["metadata"]
    assert (later["count"], later["firstTimestamp"], later["lastTimestamp"]) == (
        5,
        "2026-11-28T12:00:00Z",
        "2026-11-28T12:01:00Z",
    )
    assert teller.tell(119) is None


def test_another_message_or_object_is_another_event() -> None:
    teller = _Teller()
    told = [teller.tell(), teller.tell(message="n"), teller.tell(uid="v")]
    names = {each["metadata"]["name"] for each in told if each is not None}
    assert len(names) == 3


def test_the_oldest_are_forgotten() -> None:
    teller = _Teller(most=2)
    for message in "abc":
        assert teller.tell(message=message) is not None
    assert teller.tell(1, message="c") is None
    assert teller.tell(1, message="b") is None
    again = teller.tell(2, message="a")
    assert again is not None
    assert again["count"] == 1


def test_a_message_is_cut_to_what_the_api_server_takes() -> None:
    event = _Teller().tell(message="m" * 2000)
    assert event is not None
    assert len(event["message"]) == 1024
