"""What can go wrong between a client and the API server, as types. Pure.

An answer that is no success becomes one of the subclasses of `ApiError`, by its status code and
reason; no answer at all is `Unreachable`. Nobody has to look into a message.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple


class KubeError(Exception):
    """Base of everything that this package raises about the API server."""

    is_temporary = False
    """Whether the same request may succeed later without anybody changing anything."""


class Unconfigured(KubeError):
    """There is no usable kubeconfig and no service account."""


class Unreachable(KubeError):
    """No answer, or none in time."""

    is_temporary = True


class Unreadable(KubeError):
    """An answer that is not what was asked for: an object of another shape, or half a line."""

    is_temporary = True


class Cause(NamedTuple):
    """One mistake in an object."""

    field: str
    message: str


class ApiError(KubeError):
    """An answer that is no success."""

    def __init__(
        self, request: str, code: int, status: Mapping[str, Any], retry_after_s: float = 0.0
    ) -> None:
        details = status.get("details") or {}
        self.request = request
        """What was asked, such as ``PATCH /api/v1/...``."""
        self.code = code
        """Of HTTP; of the Status object where a watch ends."""
        self.reason = str(status.get("reason") or "")
        """In one word, such as ``NotFound``."""
        self.retry_after_s = max(retry_after_s, float(details.get("retryAfterSeconds") or 0))
        """How long the API server asks to be left alone."""
        self.causes = tuple(
            Cause(str(each.get("field", "")), str(each.get("message", "")))
            for each in details.get("causes") or ()
        )
        super().__init__(f"{request}: {status.get('message') or f'HTTP status {code}'}")


class Forbidden(ApiError):
    """The caller is unknown or may not do this."""


class NotFound(ApiError):
    """No such object, or no such kind of object."""


class AlreadyExists(ApiError):
    """An object of that name is there."""


class Conflict(ApiError):
    """The object has changed since it was read, or a field belongs to another manager."""


class Gone(ApiError):
    """The version to go on from is too old: list again."""


class Invalid(ApiError):
    """The object has mistakes; `causes` names them."""


class Throttled(ApiError):
    """Too many requests: come back after `retry_after_s`."""

    is_temporary = True


class ServerError(ApiError):
    """The API server could not do it now."""

    is_temporary = True


_BY_CODE: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: Throttled,
}


def refusal(
    request: str, code: int, status: Mapping[str, Any], retry_after_s: float = 0.0
) -> ApiError:
    """The error for an answer: a ``Status`` object, or what a proxy on the way has put there.

    `retry_after_s` is what the head of the answer asks for; its body may ask, too.
    """
    if status.get("reason") == "AlreadyExists":
        kind: type[ApiError] = AlreadyExists
    elif code >= 500:
        kind = ServerError
    else:
        kind = _BY_CODE.get(code, ApiError)
    return kind(request, code, status, retry_after_s)
