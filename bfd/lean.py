"""What a process of ours does without. To be called before anything else is imported."""

import sys
from importlib.util import find_spec

_OWN_DIGESTS = ("_md5", "_sha1", "_blake2")


def without_openssl() -> None:
    """asyncio and hashlib would load OpenSSL, 5 MB, for nothing: there is no TLS here, and the
    interpreter has the digests, too, unless it was built without them."""
    modules: dict[str, object] = dict.fromkeys(["ssl"])
    if all(find_spec(name) for name in _OWN_DIGESTS):
        modules["_hashlib"] = None
    sys.modules.update(modules)  # type: ignore[arg-type] # None: cannot be imported
