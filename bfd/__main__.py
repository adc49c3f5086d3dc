"""``python -m bfd``: the engine as a process, see `bfd.service`."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec

_OWN_DIGESTS = ("_md5", "_sha1", "_blake2")


def main(argv: Sequence[str]) -> int:
    """Run the engine; the exit status."""
    _without_openssl()
    from bfd.service import main as serve  # noqa: PLC0415 - only now

    return serve(argv)


def _without_openssl() -> None:
    """asyncio and hashlib would load OpenSSL, a fifth of the engine's memory, for nothing: there is
    no TLS here, and the interpreter has the digests, too, unless it was built without them."""
    modules: dict[str, object] = dict.fromkeys(["ssl"])
    if all(find_spec(name) for name in _OWN_DIGESTS):
        modules["_hashlib"] = None
    sys.modules.update(modules)  # type: ignore[arg-type] # None: cannot be imported


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
