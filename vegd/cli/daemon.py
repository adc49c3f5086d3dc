"""What ``vegd run`` and ``vegd agent`` have in common."""

import asyncio
from pathlib import Path

from bfd import logs
from vegd.agent import run_agent
from vegd.errors import VegdError
from vegd.settings import Settings


class UsageError(VegdError):
    """A command line that cannot be used."""

    exit_status = 2


def serve(config: Path, runtime_dir: Path, logging: tuple[str, str], *, with_engine: bool) -> None:
    """Run the agent until a signal. Raises VegdError, one line for the user."""
    level, form = logging
    try:
        logs.configure(level, form)
    except ValueError as exc:
        raise UsageError(str(exc)) from exc
    settings = Settings(config=config, runtime_dir=runtime_dir, log_level=level, log_format=form)
    asyncio.run(run_agent(settings, with_engine=with_engine))
