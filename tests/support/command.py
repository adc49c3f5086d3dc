"""The command line, run within the process of the tests: no interpreter starts for it."""

import contextlib
import io
import sys
from collections.abc import Mapping, Sequence

import pytest

from vegd.cli.app import run_command_line


def run_within(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[str, object]:
    """Run ``vegd`` as its process would, errors included: what it prints, and its exit status.

    Where an event loop runs, call it in a thread; one at a time, as standard output is redirected.
    """
    printed = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        patch.setattr(sys, "argv", ["vegd", *arguments])
        for name, value in environment.items():
            patch.setenv(name, value)
        try:
            run_command_line()
        except SystemExit as end:
            return printed.getvalue(), end.code
    raise AssertionError("a command line never returns")
