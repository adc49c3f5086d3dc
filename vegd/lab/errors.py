"""What can go wrong in a lab, as one line for the person at the terminal."""

from vegd.errors import VegdError


class LabError(VegdError):
    """The lab could not be built, found or used."""


class BadRequest(LabError):
    """What was asked for makes no sense: an option out of range, an unknown node."""

    exit_status = 2


class SceneFailed(LabError):
    """A scene of the demo did not show what it should; the text is the reason."""
