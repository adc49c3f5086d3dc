"""The errors that end a command with one line.

Each class carries the exit status of the program: 1 for what went wrong while running, 2 for a
configuration or a command line that cannot be used, 3 for a daemon that could not be asked.
"""

from typing import TypeVar

E = TypeVar("E", bound=BaseException)


class VegdError(Exception):
    """Something that the user reads as one line; never a programming mistake."""

    exit_status = 1


def first_of(group: BaseExceptionGroup[E]) -> E:
    """The first error of a group, and of the groups in it: one line is enough to begin with."""
    inner = group.exceptions[0]
    return first_of(inner) if isinstance(inner, BaseExceptionGroup) else inner


class UsageError(VegdError):
    """A command line that cannot be used."""

    exit_status = 2


class Unreachable(VegdError):
    """The daemon that should answer is not there, or does not answer in time."""

    exit_status = 3
