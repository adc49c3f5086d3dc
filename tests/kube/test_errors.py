"""Answers of the API server as typed errors."""

import pytest

from kube import errors


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (401, "Unauthorized", errors.Forbidden),
        (403, "Forbidden", errors.Forbidden),
        (404, "NotFound", errors.NotFound),
        (409, "Conflict", errors.Conflict),
        (409, "AlreadyExists", errors.AlreadyExists),
        (410, "Expired", errors.Gone),
        (422, "Invalid", errors.Invalid),
        (400, "BadRequest", errors.Invalid),
        (429, "TooManyRequests", errors.Throttled),
        (500, "InternalError", errors.ServerError),
        (503, "ServiceUnavailable", errors.ServerError),
        (418, "", errors.ApiError),
    ],
)
def test_a_status_becomes_its_error(code: int, reason: str, kind: type[errors.ApiError]) -> None:
    error = errors.refusal("GET /x", code, {"reason": reason, "message": "no"})
    assert type(error) is kind
    assert str(error) == "GET /x: no"


def test_an_answer_without_words_has_its_code() -> None:
    assert str(errors.refusal("GET /x", 502, {})) == "GET /x: HTTP status 502"


def test_the_longer_wait_counts() -> None:
    status = {"details": {"retryAfterSeconds": 3}}
    assert errors.refusal("GET /x", 429, status, 1.0).retry_after_s == 3
    assert errors.refusal("GET /x", 429, {}, 5.0).retry_after_s == 5
