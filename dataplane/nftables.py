"""libnftables in this process, by the binding of the distribution (python3-nftables).

One call is one transaction. The library blocks for as long as the kernel takes (0.3 ms for an
element, a quarter of a second for 100,000), so calls run in a thread of their own, one at a time.
The socket belongs to the network namespace of the thread that makes it.
"""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dataplane.errors import DataplaneError, NftablesMissing, PermissionDenied
from dataplane.model import NftTable
from dataplane.ownership import NFT_FAMILY, NFT_TABLE
from dataplane.ruleset import transaction

Json = dict[str, Any]

_REMEDY = "install the package python3-nftables (and nftables)"


class Nftables:
    """The table of ours in the kernel."""

    def __init__(self) -> None:
        """Load the library. Raises NftablesMissing."""
        try:
            import nftables  # type: ignore[import-untyped] # noqa: PLC0415 - may be missing
        except ImportError as exc:
            raise NftablesMissing(
                f"the Python binding of libnftables is missing; {_REMEDY}"
            ) from exc
        try:
            self._library = nftables.Nftables()
        except OSError as exc:
            raise NftablesMissing(f"libnftables cannot be loaded ({exc}); {_REMEDY}") from exc
        self._library.set_json_output(True)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="nftables")

    async def listing(self) -> Json:
        """Our table as libnftables lists it; without any object if it is not there."""
        body = {"list": {"table": {"family": NFT_FAMILY, "name": NFT_TABLE}}}
        status, listing, error = await self._run([body])
        if status == 0:
            return listing
        if "No such file or directory" in error:
            # libnftables hands on no error number, only its words.
            return {"nftables": []}
        raise _refusal("nft list table", error)

    async def counters(self) -> Json:
        """The counters of our table alone: of a table with 100,000 elements a small part."""
        body = {"list": {"counters": {"family": NFT_FAMILY, "table": NFT_TABLE}}}
        status, listing, error = await self._run([body])
        if status == 0:
            return listing
        raise _refusal("nft list counters", error)

    async def change(self, before: NftTable | None, after: NftTable | None) -> None:
        """Carry out one transaction, whole or not at all. Raises DataplaneError."""
        status, _, error = await self._run(transaction(before, after))
        if status != 0:
            raise _refusal("nft transaction", error)

    async def _run(self, commands: list[Json]) -> tuple[int, Json, str]:
        loop = asyncio.get_running_loop()
        text = json.dumps({"nftables": commands})
        status, output, error = await loop.run_in_executor(self._thread, self._library.cmd, text)
        return status, json.loads(output) if output else {}, error

    def close(self) -> None:
        """End the thread; the table stays."""
        self._thread.shutdown(wait=False)


def _refusal(what: str, error: str) -> DataplaneError:
    lines = [line.strip() for line in error.splitlines() if "rror" in line] or ["no reason given"]
    text = f"{what}: {lines[0].rpartition('Error: ')[2]}"
    if "not permitted" in error:
        return PermissionDenied(f"{text}; CAP_NET_ADMIN is needed")
    return DataplaneError(text)
