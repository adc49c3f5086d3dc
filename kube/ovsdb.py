"""One database of an ovsdb-server, mirrored in memory by ovsdbapp.

A thread of the library's keeps the mirror and commits; what is asked here is handed to it from one
worker thread, so that an event loop never waits. Work that is to be committed is given the mirror
and an open transaction, and is done again from the start when the database has moved meanwhile: it
has to look for itself each time, and to verify what it relies on.

Nothing here knows what the rows mean. The library is untyped, so is the mirror.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import ovs.json  # type: ignore[import-untyped]
from ovs.db import data, types  # type: ignore[import-untyped]
from ovs.db.idl import Idl  # type: ignore[import-untyped]
from ovsdbapp import exceptions  # type: ignore[import-untyped]
from ovsdbapp.backend.ovs_idl import (  # type: ignore[import-untyped]
    connection,
    idlutils,
    transaction,
    vlog,
)

from kube.ovsjson import Parser

if ovs.json.PARSER != ovs.json.PARSER_C:
    ovs.json.Parser = Parser

T = TypeVar("T")

Heard = Callable[[str, Any, Any], None]
"""Told each change of a row in the mirror's thread: `create`, `update` or `delete`, the row, and
for an update its old values; and `connect`, without a row, when all that there is has been read by
a new connection."""


class DatabaseError(Exception):
    """What went wrong with a database, which is `remote`."""

    def __init__(self, remote: str, text: str) -> None:
        super().__init__(f"{remote}: {text}")
        self.remote = remote


class Unreachable(DatabaseError):
    """No connection, no answer in time, or no leader."""


class ReadOnly(DatabaseError):
    """The server does not let us write."""


class Violated(DatabaseError):
    """The change breaks a rule of the schema: a name that is taken, a row that is referred to."""


class Refused(DatabaseError):
    """Any other error of the server, by its own name."""

    def __init__(self, remote: str, error: str, details: str) -> None:
        super().__init__(remote, f"{error}: {details}")
        self.error = error


_REFUSALS: Mapping[str, type[ReadOnly | Violated]] = {
    "not allowed": ReadOnly,
    "permission error": ReadOnly,
    "constraint violation": Violated,
    "referential integrity violation": Violated,
}
"""Errors of RFC 7047 §4.1.3 and of ovsdb-server."""


class _Mirror(connection.OvsdbIdl):  # type: ignore[misc]
    """The library's mirror, which tells what it hears."""

    def __init__(self, remote: str, helper: Any, probe_ms: int, heard: Heard) -> None:
        self._heard = heard
        self._told_of: int | None = None
        """The connection that was told last, by the number that the library gives it."""
        super().__init__(remote, helper, probe_interval=probe_ms, leader_only=True)

    def cooperative_yield(self) -> None:
        """Nothing: an event loop in another thread gets its turns anyway.

        The library would give way after every row, which doubles the time to connect on a machine
        that has other things to do.
        """

    def run(self) -> bool:
        has_changed = bool(super().run())
        number = self._session.get_seqno()
        is_whole = self._session.is_connected() and self.state == Idl.IDL_S_MONITORING
        if is_whole and number == self._last_seqno and number != self._told_of:
            self._told_of = number
            self._heard("connect", None, None)
        return has_changed

    def notify(self, event: str, row: Any, updates: Any = None) -> None:
        self._heard(event, row, updates)


class _Work:
    """A command of the library's: one function."""

    def __init__(self, do: Callable[[Any], Any]) -> None:
        self._do = do
        self.result: Any = None
        self.is_given_up = False

    def run_idl(self, txn: Any) -> None:
        if self.is_given_up:
            raise exceptions.TimeoutException(commands=[], timeout=0, cause="given up")
        self.result = self._do(txn)

    def post_commit(self, txn: Any) -> None:
        """Nothing is left to do."""


class _Api(NamedTuple):
    """All that the library's transaction asks of its API."""

    idl: Any


class _Transaction(transaction.Transaction):  # type: ignore[misc]
    """The library's, which lets us see why a commit failed."""

    attempt: Any = None

    def pre_commit(self, txn: Any) -> None:
        self.attempt = txn


class Database:
    """An open database. Every method raises a DatabaseError or returns."""

    def __init__(self, remote: str, mirror: Any, timeout_s: float, schema: Any) -> None:
        self.remote = remote
        self._mirror = mirror
        self._timeout_s = timeout_s
        self._schema = schema
        self._connection = connection.Connection(mirror, timeout_s)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="ovsdb")
        self._is_closed = False

    @classmethod
    async def open(
        cls,
        remote: str,
        name: str,
        columns: Mapping[str, tuple[str, ...]],
        *,
        heard: Heard = lambda *_: None,
        prepare: Callable[[Any], None] = lambda _: None,
        timeout_s: float = 10.0,
        probe_s: float = 5.0,
    ) -> "Database":
        """Connect and read the named columns of the named tables, those that there are.

        `remote` is one place or several with commas (`tcp:10.0.0.1:6641,tcp:10.0.0.2:6641`); of a
        cluster the leader is used. `prepare` is given the mirror while it is empty, for indexes.
        `timeout_s` is the longest that anything may take, here and later; a server that has been
        silent for `probe_s` is asked for a sign of life, and left after as long again.
        """
        vlog.use_python_logger(max_level=vlog.ERROR)
        schema = await _timely(remote, timeout_s, asyncio.to_thread(_schema, remote, name))
        helper = idlutils.create_schema_helper(schema)
        for table, wanted in columns.items():
            there = schema["tables"].get(table, {"columns": ()})["columns"]
            if found := [each for each in wanted if each in there]:
                helper.register_columns(table, found)
        mirror = _Mirror(remote, helper, round(probe_s * 1000), heard)
        prepare(mirror)
        self = cls(remote, mirror, timeout_s, schema)
        try:
            await self._run(self._connection.start)
        except BaseException:
            mirror.close()
            self._executor.shutdown(wait=False)
            raise
        return self

    def has_column(self, table: str, column: str) -> bool:
        """Whether the server's schema has a column."""
        return column in self._schema["tables"].get(table, {"columns": ()})["columns"]

    @property
    def is_connected(self) -> bool:
        """Whether the mirror is as the server has it, as far as is known."""
        session = self._mirror._session  # noqa: SLF001 - nothing else says so
        return bool(session.is_connected() and self._mirror.state == Idl.IDL_S_MONITORING)

    async def has_other_schema(self) -> bool:
        """Whether the server has another schema than when this was opened: it was upgraded, and
        columns that are new are seen only by who opens it again."""
        asking = asyncio.to_thread(_schema, self.remote, self._schema["name"])
        schema = await _timely(self.remote, self._timeout_s, asking)
        return bool(schema != self._schema)

    async def read(self, look: Callable[[Any], T]) -> T:
        """What `look` finds in the mirror, which does not change meanwhile."""

        def looking() -> T:
            with self._connection.lock:
                self._require_connection()
                return look(self._mirror)

        return await self._run(looking)

    async def commit(self, do: Callable[[Any, Any], T]) -> T:
        """Let `do` change rows by a transaction, all or nothing.

        If it changes none, nothing is sent. It may be called several times, see above.
        """

        def working(txn: Any) -> T:
            self._require_connection()
            return do(self._mirror, txn)

        work = _Work(working)
        try:
            await self._run(lambda: self._commit(work))
        finally:
            work.is_given_up = True
        result: T = work.result
        return result

    async def reconnect(self) -> None:
        """Drop the connection and make a new one, as when a server goes away."""
        await self._run(self._connection.force_reconnect)

    async def close(self) -> None:
        """End the threads and the connection; whoever asks for something later is refused."""
        self._is_closed = True
        try:
            await asyncio.get_running_loop().run_in_executor(
                self._executor, self._connection.stop, self._timeout_s
            )
        finally:
            self._executor.shutdown(wait=False)

    def _require_connection(self) -> None:
        if not self.is_connected:
            raise Unreachable(self.remote, "the connection is lost")

    def _commit(self, work: _Work) -> None:
        api = _Api(self._mirror)
        txn = _Transaction(
            api, self._connection, self._timeout_s, check_error=True, log_errors=False
        )
        txn.add(work)
        try:
            txn.commit()
        except exceptions.TimeoutException:
            raise
        except RuntimeError as failure:
            raise self._why(txn.attempt, failure) from failure

    def _why(self, attempt: Any, failure: RuntimeError) -> DatabaseError:
        """The error that the server has sent, which the library keeps as a text of JSON."""
        said: dict[str, str] = {}
        with contextlib.suppress(ValueError):
            said = json.loads(attempt.get_error())
        error, details = said.get("error", ""), said.get("details", "")
        if not error:
            return Unreachable(self.remote, f"the change did not get through: {failure}")
        kind = _REFUSALS.get(error)
        return kind(self.remote, details) if kind else Refused(self.remote, error, details)

    async def _run(self, do: Callable[[], T]) -> T:
        if self._is_closed:
            raise Unreachable(self.remote, "the connection is closed")
        loop = asyncio.get_running_loop()
        waiting = loop.run_in_executor(self._executor, do)
        try:
            return await _timely(self.remote, 2 * self._timeout_s, waiting)
        except exceptions.TimeoutException as late:
            raise Unreachable(self.remote, f"no answer in {self._timeout_s:g} s") from late


async def _timely(remote: str, timeout_s: float, doing: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(timeout_s):
            return await doing
    except TimeoutError:
        raise Unreachable(remote, f"no answer in {timeout_s:g} s") from None


def _schema(remote: str, name: str) -> Any:
    try:
        return idlutils.fetch_schema_json(remote, name)
    except Exception as failure:  # the library raises nothing narrower
        raise Unreachable(remote, f"no schema of {name}: is the server there?") from failure


def holds(row: Any, column: str, uuid: UUID) -> bool:
    """Whether a column refers to a row; without making a list of all that it refers to."""
    return data.Atom(types.UuidType, uuid) in row._data[column].values  # noqa: SLF001
