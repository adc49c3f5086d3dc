"""Which way next hops are tied to their sessions."""

from collections.abc import Iterable

from kube.binding import (
    PATIENCE_S,
    STUB_PATIENCE_S,
    Because,
    Look,
    PortHistory,
    Status,
    choose,
    saw,
    wants_stub,
)
from kube.routes import Way

A, B = ("bfd@vpc1", "192.168.0.2"), ("bfd@vpc1", "192.168.0.3")


def look(key: tuple[str, str], status: Status | None, *, route: bool = False) -> Look:
    return Look(key, status, by_policy=not route, by_route=route)


def history(*steps: tuple[float, Iterable[Look]]) -> PortHistory:
    seen = PortHistory()
    for now_s, looks in steps:
        seen = saw(seen, looks, now_s)
    return seen


def way(seen: PortHistory, now_s: float) -> tuple[Way, Because]:
    choice = choose(seen, now_s, has_column=True)
    assert choice.text
    return choice.way, choice.because


def test_nothing_known_is_asked_and_not_assumed() -> None:
    assert way(PortHistory(), 0) == (Way.TRIAL, Because.UNKNOWN)
    assert way(PortHistory(), 1e6) == (Way.TRIAL, Because.UNKNOWN)


def test_a_session_that_leaves_admin_down_shows_that_policies_are_heeded() -> None:
    for status in (Status.DOWN, Status.INIT, Status.UP):
        seen = history((0, [look(A, Status.ADMIN_DOWN)]), (1, [look(A, status)]))
        assert way(seen, 1) == (Way.POLICIES, Because.HEEDED)


def test_one_session_speaks_for_all_of_the_port() -> None:
    seen = history((0, [look(A, Status.ADMIN_DOWN), look(B, Status.DOWN)]))
    assert way(seen, 100) == (Way.POLICIES, Because.HEEDED)


def test_a_gateway_that_drains_afterwards_changes_nothing() -> None:
    seen = history((0, [look(A, Status.UP)]), (1, [look(A, Status.ADMIN_DOWN)]))
    assert way(seen, 1 + 10 * PATIENCE_S) == (Way.POLICIES, Because.HEEDED)


def test_sessions_that_stay_admin_down_are_ignored_by_ovn() -> None:
    rows = [look(A, Status.ADMIN_DOWN), look(B, Status.ADMIN_DOWN)]
    seen = history((0, rows), (PATIENCE_S / 2, rows))
    assert way(seen, PATIENCE_S - 0.1) == (Way.TRIAL, Because.UNKNOWN)
    assert way(seen, PATIENCE_S) == (Way.STATIC_ROUTES, Because.IGNORED)
    assert "admin_down for 10 s" in choose(seen, PATIENCE_S, has_column=True).text


def test_a_session_that_is_new_has_its_own_time() -> None:
    seen = history((0, [look(A, Status.ADMIN_DOWN)]), (9, [look(B, Status.ADMIN_DOWN)]))
    assert way(seen, 12) == (Way.TRIAL, Because.UNKNOWN)
    assert way(seen, 9 + PATIENCE_S) == (Way.STATIC_ROUTES, Because.IGNORED)


def test_a_northd_that_has_not_looked_says_nothing_however_long() -> None:
    seen = history((0, [look(A, None)]), (1e6, [look(A, None)]))
    assert way(seen, 2e6) == (Way.TRIAL, Because.UNKNOWN)
    assert "ovn-northd" in choose(seen, 2e6, has_column=True).text


def test_a_session_that_a_route_names_says_nothing_of_policies() -> None:
    seen = history((0, [look(A, Status.UP, route=True)]))
    assert way(seen, 1) == (Way.STATIC_ROUTES, Because.ROUTES)
    gone = saw(seen, [look(A, Status.ADMIN_DOWN)], 2)
    assert way(gone, 3) == (Way.TRIAL, Because.UNKNOWN)


def test_routes_are_kept_once_chosen_whatever_the_sessions_show() -> None:
    asked = history((0, [look(A, Status.ADMIN_DOWN)]))
    seen = saw(asked, [look(A, Status.DOWN, route=True)], PATIENCE_S)
    assert way(seen, PATIENCE_S) == (Way.STATIC_ROUTES, Because.ROUTES)


def test_a_session_that_nothing_names_says_nothing() -> None:
    loose = Look(A, Status.ADMIN_DOWN, by_policy=False, by_route=False)
    seen = history((0, [loose]), (PATIENCE_S, [loose]))
    assert way(seen, 2 * PATIENCE_S) == (Way.TRIAL, Because.UNKNOWN)


def test_an_ovn_whose_policies_cannot_name_sessions_gets_routes_at_once() -> None:
    choice = choose(PortHistory(heeded=True), 0, has_column=False)
    assert (choice.way, choice.because) == (Way.STATIC_ROUTES, Because.SCHEMA)


def test_an_order_is_the_last_word() -> None:
    seen = history((0, [look(A, Status.UP)]))
    choice = choose(seen, 0, has_column=True, ordered=Way.STATIC_ROUTES)
    assert (choice.way, choice.because) == (Way.STATIC_ROUTES, Because.ORDERED)


def test_a_port_whose_sessions_all_stay_down_though_gateways_live_gets_a_switch() -> None:
    rows = [look(A, Status.DOWN, route=True), look(B, Status.DOWN, route=True)]
    seen = history((0, rows), (STUB_PATIENCE_S, rows))
    assert not wants_stub(seen, STUB_PATIENCE_S - 1, has_stub=False, gateways_live=True)
    assert wants_stub(seen, STUB_PATIENCE_S, has_stub=False, gateways_live=True)
    assert not wants_stub(seen, 1e6, has_stub=False, gateways_live=False)


def test_a_port_that_was_ever_answered_needs_no_switch() -> None:
    seen = history((0, [look(A, Status.INIT)]), (1, [look(A, Status.DOWN)]))
    assert not wants_stub(seen, 1e6, has_stub=False, gateways_live=True)


def test_a_switch_stays_where_it_is() -> None:
    assert wants_stub(PortHistory(), 0, has_stub=True, gateways_live=False)
