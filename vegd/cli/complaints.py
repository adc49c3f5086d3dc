"""How errors reach the user: an expected one is one line on standard error."""

import contextlib
import sys
from collections.abc import Iterator

from vegd.errors import VegdError, first_of


@contextlib.contextmanager
def complaining() -> Iterator[None]:
    """Turn a VegdError into a line and an exit status."""
    try:
        yield
    except VegdError as exc:
        _complain(exc)
    except BaseExceptionGroup as group:
        expected, unexpected = group.split(VegdError)
        if unexpected is not None or expected is None:
            raise
        _complain(first_of(expected))
    except BrokenPipeError:
        # The reader has gone (| head); what it has not read is not missed.
        sys.stderr.close()
        raise SystemExit(0) from None


def _complain(error: VegdError) -> None:
    for line in str(error).splitlines():
        sys.stderr.write(f"vegd: {line}\n")
    raise SystemExit(error.exit_status)
