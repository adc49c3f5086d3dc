"""What others have changed of ours, as opposed to what we are told to change. Pure."""

from dataplane.diff import diff
from dataplane.model import DataplaneState
from dataplane.plan import Op, Part


def drift(op: Op, observed: DataplaneState, stood: DataplaneState) -> list[Part]:
    """The parts of an operation that put right what stood before and was changed since.

    `observed` is the state that the operation was planned for, `stood` the one that was last seen
    as it should be. A part that would not be needed for `stood` comes of a new wish.
    """
    undone = {part for each in diff(observed, stood).ops for part in each.parts()}
    parts = [part for part in op.parts() if part in undone]
    # When the whole table has gone, it alone is the event, not each of its chains.
    return [part for part in parts if part.kind == "nft_table"] or parts
