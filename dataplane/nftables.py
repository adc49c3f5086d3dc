"""libnftables in this process, by the binding of the distribution (python3-nftables).

One call is one transaction. The library blocks for as long as the kernel takes (0.3 ms for an
element, a quarter of a second for 100,000), so calls run in a thread of their own, one at a time.
The socket belongs to the network namespace of the thread that makes it.
"""

import asyncio
import contextlib
import ctypes
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from dataplane.errors import DataplaneError, NftablesMissing, PermissionDenied
from dataplane.model import NftTable
from dataplane.monitor import nftables_watch
from dataplane.nfnetlink import NFNL_SUBSYS_NFTABLES, Channel
from dataplane.ownership import NFT_FAMILY, NFT_TABLE
from dataplane.ruleset import parse, transaction
from dataplane.wire import NLM_F_DUMP, attribute, attributes

Json = dict[str, Any]

_LARGE_BYTES = 1 << 20
_BELIEVE_S = 300.0
"""A listing of 100,000 sources takes a second or two; this often is enough to be sure."""

# include/uapi/linux/netfilter/nf_tables.h
_NFT_MSG_GETGEN, _NFT_MSG_GETOBJ = 16, 19
_NFTA_GEN_ID = 1
_NFTA_OBJ_TABLE, _NFTA_OBJ_NAME, _NFTA_OBJ_TYPE, _NFTA_OBJ_DATA = 1, 2, 3, 4
_NFTA_COUNTER_BYTES, _NFTA_COUNTER_PACKETS = 1, 2
_NFT_OBJECT_COUNTER = 1
_NFPROTO_INET = 1

_OWNED = "most likely another program owns the table (flag owner) and must end"
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
        # A mark may have a name (rt_marks of iproute2); we want its number.
        self._library.set_numeric_symbol_output(True)
        self._channel = Channel()
        self._watch = nftables_watch()
        self._watches = {self._watch}
        self._believed: NftTable | None = None
        self._believed_until = 0.0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="nftables")

    async def table(self) -> NftTable | None:
        """Our table, None if it is not there. What it was after our own last change or listing is
        believed as long as the kernel tells of no other, but not for ever."""
        now = time.monotonic()
        if not self._watch.touched() and now < self._believed_until:
            return self._believed
        self._watch.touched()
        self._believed_until = 0.0
        self._believed = parse(await self._listing())
        if not self._watch.touched():
            self._believed_until = now + _BELIEVE_S
        return self._believed

    async def _listing(self) -> Json:
        body = {"list": {"table": {"family": NFT_FAMILY, "name": NFT_TABLE}}}
        status, listing, error = await self._run([body])
        if status == 0:
            return listing
        if "No such file or directory" in error:
            # libnftables hands on no error number, only its words.
            return {"nftables": []}
        raise _refusal("nft list table", error)

    async def changes(self) -> AsyncIterator[None]:
        """Yields whenever somebody else has changed the table; perhaps for `change`, too."""
        watch = nftables_watch()
        self._watches.add(watch)
        try:
            while True:
                await watch.wait()
                yield
        finally:
            self._watches.remove(watch)
            watch.close()

    async def change(self, before: NftTable | None, after: NftTable | None) -> None:
        """Carry out one transaction, whole or not at all. Raises DataplaneError.

        Meanwhile nothing is listened to: the kernel would tell of each element, which takes longer
        than to add it. What others do in that time shows in the number of transactions.
        """
        commands = transaction(before, after)
        generation = self._generation()
        until, self._believed_until = self._believed_until, 0.0
        is_known = before is self._believed and until > 0 and not self._watch.touched()
        with contextlib.ExitStack() as stack:
            for watch in self._watches:
                stack.enter_context(watch.paused())
            status, _, error = await self._run(commands)
        # From here on others are heard again; only now it is certain that nothing was missed.
        if status != 0:
            raise _refusal(f"nft table {NFT_FAMILY} {NFT_TABLE}", error)
        if is_known and self._generation() == generation + 1:
            self._believed, self._believed_until = after, until

    async def rehearse(self, table: NftTable) -> None:
        """Have the kernel judge a table as if ours were not there, and change nothing (nft(8),
        "--check"). Raises DataplaneError."""
        ours: Json = {"table": {"family": NFT_FAMILY, "name": NFT_TABLE}}
        commands = [{"add": ours}, {"delete": ours}, *transaction(None, table)]
        self._library.set_dry_run(True)
        try:
            status, _, error = await self._run(commands)
        finally:
            self._library.set_dry_run(False)
        if status != 0:
            raise _refusal("nft transaction", error)

    def _generation(self) -> int:
        """The number of transactions that the kernel has seen, of everybody."""
        kind = NFNL_SUBSYS_NFTABLES << 8 | _NFT_MSG_GETGEN
        answer = attributes(next(iter([*self._channel.ask(kind, 0)])))
        return int.from_bytes(answer[_NFTA_GEN_ID], "big")

    def counters(self) -> dict[str, tuple[int, int]]:
        """Packets and bytes of each named counter of our table."""
        kind = NFNL_SUBSYS_NFTABLES << 8 | _NFT_MSG_GETOBJ
        body = attribute(_NFTA_OBJ_TABLE, NFT_TABLE.encode() + b"\0")
        body += attribute(_NFTA_OBJ_TYPE, _NFT_OBJECT_COUNTER.to_bytes(4, "big"))
        found = {}
        for message in self._channel.ask(kind, _NFPROTO_INET, body, NLM_F_DUMP):
            each = attributes(message)
            figures = attributes(each[_NFTA_OBJ_DATA])
            found[each[_NFTA_OBJ_NAME].rstrip(b"\0").decode()] = (
                int.from_bytes(figures[_NFTA_COUNTER_PACKETS], "big"),
                int.from_bytes(figures[_NFTA_COUNTER_BYTES], "big"),
            )
        return found

    async def _run(self, commands: list[Json]) -> tuple[int, Json, str]:
        loop = asyncio.get_running_loop()
        text = msgspec.json.encode({"nftables": commands}).decode()
        status, output, error = await loop.run_in_executor(self._thread, self._call, text)
        try:
            return status, msgspec.json.decode(output) if output else {}, error
        except msgspec.DecodeError as exc:
            # libnftables 1.0.6 cannot print a table with flags, and ours has none.
            raise DataplaneError(
                f"nft table {NFT_FAMILY} {NFT_TABLE}: it cannot be listed; {_OWNED}"
            ) from exc

    def _call(self, text: str) -> tuple[int, str, str]:
        answer: tuple[int, str, str] = self._library.cmd(text)
        if max(len(text), len(answer[1])) > _LARGE_BYTES:
            # What it has freed would stay with the process: 100 MB after 100,000 sources.
            with contextlib.suppress(AttributeError):  # only glibc has it
                ctypes.CDLL(None).malloc_trim(0)
        return answer

    def close(self) -> None:
        """End the thread; the table stays."""
        self._watch.close()
        self._channel.close()
        self._thread.shutdown(wait=False)


def _refusal(what: str, error: str) -> DataplaneError:
    lines = [line.strip() for line in error.splitlines() if "rror" in line] or ["no reason given"]
    text = f"{what}: {lines[0].rpartition('Error: ')[2]}"
    if "not permitted" in error:
        return PermissionDenied(f"{text}; {_OWNED}, or CAP_NET_ADMIN is missing")
    if "not supported" in error or "No such file" in error:
        text += "; the kernel lacks a part of nf_tables (nft_masq, nft_ct, nft_fib), load it"
    return DataplaneError(text)
