"""All 28 cells of the grid against the prose of the RFC, written out a second time as ifs."""

import pytest

from bfd.fsm import GRID, Diagnostic, Event, State, step


def by_the_prose(state: State, event: Event) -> tuple[State, Diagnostic | None]:  # noqa: C901, PLR0911, PLR0912  the RFC's own nesting
    """RFC 5880 §6.8.6 (last part), §6.8.4 and §6.8.16, sentence by sentence."""
    if event is Event.EXPIRED:
        # §6.8.4: "... if bfd.SessionState is Init or Up, the session has gone down".
        if state in (State.INIT, State.UP):
            return State.DOWN, Diagnostic(1)
        return state, None
    if event is Event.DISABLED:
        # §6.8.16: set bfd.SessionState to AdminDown (and the diagnostic to an appropriate value).
        return State.ADMIN_DOWN, None
    if event is Event.ENABLED:
        # §6.8.16: to enable a disabled session, set it to Down.
        if state is State.ADMIN_DOWN:
            return State.DOWN, None
        return state, None
    received = State(int(event))
    # §6.8.6: "If bfd.SessionState is AdminDown, discard the packet".
    if state is State.ADMIN_DOWN:
        return state, None
    if received is State.ADMIN_DOWN:
        if state is not State.DOWN:
            return State.DOWN, Diagnostic(3)
        return state, None
    if state is State.DOWN:
        if received is State.DOWN:
            return State.INIT, None
        if received is State.INIT:
            return State.UP, None
        return state, None
    if state is State.INIT:
        if received in (State.INIT, State.UP):
            return State.UP, None
        return state, None
    # Up
    if received is State.DOWN:
        return State.DOWN, Diagnostic(3)
    return state, None


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("event", list(Event))
def test_B18_each_cell_says_what_the_prose_says(state: State, event: Event) -> None:
    assert tuple(step(state, event)) == by_the_prose(state, event)


def test_B18_the_grid_is_total() -> None:
    assert len(GRID) == len(State)
    assert all(len(row) == len(Event) for row in GRID)


def test_B18_heard_events_have_the_numbers_of_the_states() -> None:
    for state in State:
        assert Event(int(state)).name == f"HEARD_{state.name}"
