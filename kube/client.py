"""The API server behind a narrow interface. Only this module speaks through kubernetes_asyncio.

That library finds and refreshes credentials and speaks HTTP. Objects are decoded here: its own
models cost ten times as much, and are not even loaded (`kube.credentials`). Each call is one
attempt with a time limit, and ends in a value or in one of `kube.errors`. When to try again is the
caller's to decide.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import aiohttp
import msgspec
import yaml

from kube.authority import Authority
from kube.credentials import ApiClient, Configuration, config
from kube.errors import ApiError, Unconfigured, Unreachable, Unreadable, refusal
from kube.objects import Happened, Item, Listing, Metadata, Notice, Object, Query, Resource, Unfit

log = logging.getLogger(__name__)

T = TypeVar("T")

_TIMEOUT_S = 30.0
_PAGE = 500
_CONNECTIONS = 64
_SILENCE_S = 150.0
"""A watch is told a bookmark about once a minute; one that says nothing for so long is dead."""
_TYPES = {"PATCH": "application/apply-patch+yaml"}


class Call(NamedTuple):
    """A kind of request and how it ended."""

    verb: str
    resource: str
    code: int
    """0 if there was no answer."""


class _Head(msgspec.Struct):
    metadata: Metadata = Metadata()


class _ListHead(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    metadata: _ListHead
    items: list[msgspec.Raw]


class _Line(msgspec.Struct):
    type: str
    object: msgspec.Raw


class Client:
    """A connection to the API server; `close` it in the end."""

    def __init__(
        self,
        api: ApiClient,
        timeout_s: float,
        silence_s: float,
        namespace: str = "default",
        authority: Authority | None = None,
    ) -> None:
        self._api = api
        self._authority = authority
        self.namespace = namespace
        """Of the kubeconfig's context: what is meant where none is given."""
        self._timeout_s = timeout_s
        self._silence_s = silence_s
        self.calls: Counter[Call] = Counter()
        """How many requests of each kind ended how."""
        self.seconds: defaultdict[Call, float] = defaultdict(float)
        """How long they took in all; of a watch until it began."""

    @classmethod
    async def connect(
        cls,
        kubeconfig: Path | None = None,
        *,
        context: str = "",
        agent: str = "vegd",
        timeout_s: float = _TIMEOUT_S,
        silence_s: float = _SILENCE_S,
    ) -> Self:
        """Read the credentials; nothing is asked yet.

        Without `kubeconfig` they come from the service account of the pod, else from the file in
        ``KUBECONFIG`` or ``~/.kube/config``; of a file its current context counts, or `context`.
        A token and a cluster's certificate that are exchanged in the pod are taken up.
        `agent` is what the API server's log calls the caller. A request is given up after
        `timeout_s`, a watch that says nothing for `silence_s` as well.

        Raises:
            Unconfigured: there are none, or they cannot be read.
        """
        settings, namespace, authority = Configuration(), "", None
        # What it has to say about a file is in its exceptions, too.
        logging.getLogger("kubernetes_asyncio").setLevel(logging.ERROR)
        try:
            is_inside = bool(os.environ.get("KUBERNETES_SERVICE_HOST"))
            if is_inside and kubeconfig is None and not context:
                config.load_incluster_config(  # type: ignore[no-untyped-call]
                    client_configuration=settings
                )
                authority = Authority(Path(settings.ssl_ca_cert or ""))
            else:
                file = None if kubeconfig is None else str(kubeconfig)
                loader = await config.load_kube_config(
                    file, context or None, client_configuration=settings
                )
                namespace = (loader.current_context or {}).get("context", {}).get("namespace", "")
        except (config.ConfigException, OSError, TypeError, yaml.YAMLError) as exc:
            place = kubeconfig or "service account, $KUBECONFIG and ~/.kube/config"
            raise Unconfigured(f"no access to a cluster from {place}: {exc}") from exc
        settings.connection_pool_maxsize = _CONNECTIONS
        api = ApiClient(settings)
        api.user_agent = agent
        return cls(api, timeout_s, silence_s, namespace or "default", authority)

    async def close(self) -> None:
        """Close every connection; watches end."""
        await self._api.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def list(self, query: Query, kind: type[T]) -> Listing[T]:
        """Everything that matches, in pages, each object as `kind`; those that do not fit it are
        apart. Raises KubeError.
        """
        items: list[Item[T]] = []
        unfit: list[Unfit] = []
        parameters = query.parameters | {"limit": str(_PAGE)}
        while True:
            body = await self._ask("GET", query.resource, query.path, parameters)
            try:
                page = msgspec.json.decode(body, type=_List)
                for raw in page.items:
                    item = _item(raw, kind)
                    if isinstance(item, Unfit):
                        unfit.append(item)
                    else:
                        items.append(item)
            except msgspec.DecodeError as exc:
                raise Unreadable(f"GET {query.path}: {exc}") from exc
            if not page.metadata.continue_:
                return Listing(items, page.metadata.resource_version, unfit)
            parameters["continue"] = page.metadata.continue_

    async def watch(
        self, query: Query, kind: type[T], resource_version: str, lasts_s: float
    ) -> AsyncIterator[Notice[T]]:
        """What happens to it after a version, until the API server ends the watch.

        It ends after `lasts_s` at the latest, which is no error.

        Raises:
            Gone: the version is too old.
            KubeError: the watch was refused or has broken.
        """
        parameters = query.parameters | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(max(1, int(lasts_s))),
        }
        limits = aiohttp.ClientTimeout(sock_connect=self._timeout_s, sock_read=self._silence_s)
        request = f"WATCH {query.path}"
        answer = await self._send("WATCH", query.resource, query.path, parameters, limits=limits)
        try:
            async for line in answer.content:
                yield _notice(request, line, kind)
        except (aiohttp.ClientError, OSError) as exc:
            raise Unreachable(f"{request}: {_words(exc)}") from exc
        except (msgspec.DecodeError, ValueError) as exc:
            raise Unreadable(f"{request}: {_words(exc)}") from exc
        finally:
            answer.close()

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Object:
        """One object. Raises NotFound, KubeError."""
        return await self._object("GET", resource, resource.path(namespace, name))

    async def create(self, resource: Resource, value: Object) -> Object:
        """A new object. Raises AlreadyExists, Invalid, KubeError."""
        path = resource.path(value["metadata"].get("namespace", ""))
        return await self._object("POST", resource, path, body=value)

    async def replace(self, resource: Resource, value: Object) -> Object:
        """An object, read and changed. Raises Conflict if it was not the newest, KubeError."""
        return await self._object("PUT", resource, _path_of(resource, value), body=value)

    async def apply(
        self, resource: Resource, value: Object, *, manager: str, subresource: str = ""
    ) -> Object:
        """Server-side apply: what `value` has is so from now on, and ours under that name; what it
        had the last time and has no more goes, unless others want it, too. `subresource` is empty
        or ``status``. Raises Invalid, KubeError.
        """
        parameters = {"fieldManager": manager, "force": "true"}
        path = _path_of(resource, value, subresource)
        named = {"apiVersion": resource.api_version, "kind": resource.kind} | value
        return await self._object("PATCH", resource, path, parameters, named)

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        grace_s: int | None = None,
    ) -> None:
        """Delete an object; what it owns follows. With `uid` only this very one. `grace_s` is the
        time that a pod gets to end in, if not its own; with 0 it is gone at once.

        Raises:
            NotFound: it is not there.
            Conflict: it is another one than `uid`.
            KubeError: as ever.
        """
        body: Object = {"propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        if grace_s is not None:
            body["gracePeriodSeconds"] = grace_s
        await self._ask("DELETE", resource, resource.path(namespace, name), body=body)

    async def _object(
        self,
        method: str,
        resource: Resource,
        path: str,
        parameters: Mapping[str, str] | None = None,
        body: Object | None = None,
    ) -> Object:
        value: Object = msgspec.json.decode(
            await self._ask(method, resource, path, parameters, body)
        )
        return value

    async def _ask(
        self,
        method: str,
        resource: Resource,
        path: str,
        parameters: Mapping[str, str] | None = None,
        body: Object | None = None,
    ) -> bytes:
        """One request and its whole answer."""
        try:
            async with asyncio.timeout(self._timeout_s):
                async with await self._send(method, resource, path, parameters, body) as answer:
                    return await answer.read()
        except (aiohttp.ClientError, OSError) as exc:
            raise Unreachable(f"{method} {path}: {_words(exc)}") from exc

    async def _send(
        self,
        verb: str,
        resource: Resource,
        path: str,
        parameters: Mapping[str, str] | None = None,
        body: Object | None = None,
        *,
        limits: aiohttp.ClientTimeout | None = None,
    ) -> aiohttp.ClientResponse:
        """Send a request, and see by its head whether it succeeds."""
        method = "GET" if verb == "WATCH" else verb
        await self._heed_authority()
        begun, code = time.monotonic(), 0
        try:
            answer: aiohttp.ClientResponse = await self._api.call_api(
                path,
                method,
                query_params=list((parameters or {}).items()),
                header_params={
                    "Accept": "application/json",
                    "Content-Type": _TYPES.get(method, "application/json"),
                },
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=limits or aiohttp.ClientTimeout(total=self._timeout_s),
            )
            code = answer.status
            if code >= 300:
                async with answer:
                    raise _refusal(f"{verb} {path}", answer, await answer.read())
            return answer
        except (aiohttp.ClientError, OSError) as exc:
            if self._authority is not None and isinstance(exc, aiohttp.ClientSSLError):
                self._authority.suspect()
            raise Unreachable(f"{verb} {path}: {_words(exc)}") from exc
        finally:
            call = Call(verb, resource.plural, code)
            self.calls[call] += 1
            self.seconds[call] += time.monotonic() - begun

    async def _heed_authority(self) -> None:
        """Believe another certificate of the cluster from now on. What was connected by the one of
        before is cut, watches included."""
        if self._authority is None or not self._authority.is_another():
            return
        before = self._api.rest_client
        try:
            self._api.rest_client = type(before)(self._api.configuration)
        except OSError as exc:
            log.warning("the cluster's new certificate cannot be read: %s", exc)
            return
        log.info("the cluster has another certificate")
        await before.close()


def _path_of(resource: Resource, value: Object, subresource: str = "") -> str:
    metadata = value["metadata"]
    return resource.path(metadata.get("namespace", ""), metadata["name"], subresource)


def _item(raw: msgspec.Raw, kind: type[T]) -> Item[T] | Unfit:
    metadata = msgspec.json.decode(raw, type=_Head).metadata
    try:
        value = msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as exc:
        return Unfit(metadata, str(exc))
    if isinstance(value, dict):
        # Half of every object, and of no use to who follows it.
        value.get("metadata", {}).pop("managedFields", None)
    return Item(metadata, value)


def _notice(request: str, line: bytes, kind: type[T]) -> Notice[T]:
    told = msgspec.json.decode(line, type=_Line)
    if told.type == "ERROR":
        status = msgspec.json.decode(told.object, type=dict[str, Any])
        raise refusal(request, int(status.get("code") or 500), status)
    happened = Happened(told.type)
    if happened is Happened.BOOKMARK:
        return Notice(happened, Item(msgspec.json.decode(told.object, type=_Head).metadata, None))
    item = _item(told.object, kind)
    if isinstance(item, Unfit):
        return Notice(happened, Item(item.metadata, None), item.why)
    return Notice(happened, Item(item.metadata, item.value))


def _refusal(request: str, answer: aiohttp.ClientResponse, body: bytes) -> ApiError:
    try:
        status = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        # Not every part of the API server gives an object: who throttles writes a line of text.
        status = {"message": body[:200].decode(errors="replace").strip()}
    wait = answer.headers.get("Retry-After", "")
    return refusal(request, answer.status, status, float(wait) if wait.isdecimal() else 0.0)


def _words(exc: BaseException) -> str:
    """Some errors of asyncio and aiohttp have no text."""
    return str(exc) or type(exc).__name__
