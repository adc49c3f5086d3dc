"""Which configuration a command speaks of that was given none: the one of the gateway here."""

import asyncio
from pathlib import Path

from vegd.cli.asking import ask
from vegd.cli.options import CONFIG
from vegd.errors import VegdError
from vegd.settings import FOLLOWED_FILE


def in_force(config: Path | None, runtime_dir: Path) -> Path:
    """The file that was given; else the one whose configuration is in force, as the daemon says;
    else, while none answers, the one that "vegd run --followed" would begin with."""
    if config is not None:
        return config
    return _of_the_daemon(runtime_dir) or _newer(CONFIG, runtime_dir / FOLLOWED_FILE)


def _of_the_daemon(runtime_dir: Path) -> Path | None:
    import msgspec  # noqa: PLC0415 - --help stays quick

    from vegd.status import GatewayStatus  # noqa: PLC0415

    try:
        status = msgspec.json.decode(ask(runtime_dir, "GET", "/v1/status"), type=GatewayStatus)
    except (VegdError, msgspec.DecodeError):
        return None
    return Path(status.config)


def _newer(given: Path, followed: Path) -> Path:
    from vegd.sources.followed import TwoFiles  # noqa: PLC0415 - --help stays quick
    from vegd.spec import SpecError  # noqa: PLC0415

    if not followed.exists():
        return given
    try:
        return asyncio.run(TwoFiles(given, followed).first()).path
    except SpecError:
        return given  # whoever reads it names its faults
