"""Conditions: since when, and nothing to write when nothing has changed."""

from datetime import UTC, datetime, timedelta

from kube.conditions import FALSE, TRUE, Condition, Wanted, parse, to_json, troubles, update

_NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
_LATER = _NOON + timedelta(minutes=5)
_READY = Wanted(TRUE, "Done")


def test_a_new_condition_begins_now() -> None:
    assert to_json(update((), {"Ready": _READY}, 3, _NOON)) == [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Done",
            "observedGeneration": 3,
            "lastUpdateTime": "2026-11-28T12:00:00Z",
            "lastTransitionTime": "2026-11-28T12:00:00Z",
        }
    ]


def test_one_that_says_the_same_is_the_same() -> None:
    before = update((), {"Ready": _READY}, 3, _NOON)
    assert update(before, {"Ready": _READY}, 3, _LATER) == before


def test_another_reason_is_an_update_but_no_transition() -> None:
    before = update((), {"Ready": Wanted(FALSE, "Waiting", "for pods")}, 3, _NOON)
    (found,) = update(before, {"Ready": Wanted(FALSE, "Waiting", "for OVN")}, 3, _LATER)
    assert (found.last_transition_time, found.last_update_time) == (
        "2026-11-28T12:00:00Z",
        "2026-11-28T12:05:00Z",
    )


def test_another_generation_is_an_update() -> None:
    before = update((), {"Ready": _READY}, 3, _NOON)
    (found,) = update(before, {"Ready": _READY}, 4, _LATER)
    assert (found.observed_generation, found.last_update_time) == (4, "2026-11-28T12:05:00Z")


def test_another_status_is_a_transition() -> None:
    before = update((), {"Ready": _READY}, 3, _NOON)
    (found,) = update(before, {"Ready": Wanted(FALSE, "Broken")}, 3, _LATER)
    assert found.last_transition_time == "2026-11-28T12:05:00Z"


def test_what_is_not_wanted_any_more_goes() -> None:
    before = update((), {"Validated": Wanted(FALSE, "NoSubnet"), "Ready": _READY}, 3, _NOON)
    assert [each.type for each in update(before, {"Ready": _READY}, 3, _NOON)] == ["Ready"]


def test_a_status_is_read_as_it_was_written_and_nonsense_is_left_out() -> None:
    written = update((), {"Ready": _READY}, 3, _NOON)
    assert parse({"conditions": to_json(written)}) == written
    assert parse({}) == parse({"conditions": None}) == parse({"conditions": "none"}) == ()
    odd = [{"type": 1}, "x", {"type": "Ready", "status": "True"}]
    assert parse({"conditions": odd}) == (Condition("Ready", "True"),)


def test_trouble_is_what_is_not_as_it_should_be() -> None:
    def said(**statuses: str) -> tuple[str, ...]:
        return troubles({"conditions": [{"type": k, "status": v} for k, v in statuses.items()]})

    assert said(Ready="True", Validated="True", Degraded="False", Conflict="False") == ()
    assert said(Ready="True", BFDHealthy="Unknown", Degraded="Unknown") == ()
    assert said(Ready="False", Validated="False", BFDHealthy="False") == (
        "BFDHealthy",
        "Ready",
        "Validated",
    )
    assert said(Ready="True", Degraded="True", Conflict="True") == ("Conflict", "Degraded")
    assert said(Ready="Unknown") == said() == troubles({}) == ("Ready",)
