"""Answers as HTTP carries them: JSON, and one sentence for every error."""

import json
import logging
import math
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from dsh_jax.errors import UserError
from dsh_jax.search.server.limits import Refused

_log = logging.getLogger(__name__)


def as_json(content: Any) -> Response:
    """JSON, whatever the metadata of items holds."""
    try:
        text = json.dumps(content, allow_nan=False)
    except ValueError:  # numbers that JSON has not
        text = json.dumps(_finite(content))
    return Response(text, media_type="application/json")


def refusal(refused: Refused) -> Response:
    """The answer to a refused request."""
    headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}.get(refused.status)
    content = json.dumps({"error": refused.sentence})
    return Response(content, refused.status, headers, "application/json")


def explain_errors(app: FastAPI) -> None:
    """Makes every error of an app one sentence in JSON."""

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return refusal(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = first["loc"][1:] if first["type"] != "json_invalid" else ()
        name = ".".join(map(str, place)) or "the body"
        message = first["msg"]
        if message[1:2].islower():
            message = message[0].lower() + message[1:]
        return refusal(Refused(422, f"{name} is refused, {message}: see /docs."))

    @app.exception_handler(HTTPException)
    async def wrong(_: Request, error: HTTPException) -> Response:
        return refusal(Refused(error.status_code, f"{error.detail}: see /docs."))

    @app.exception_handler(UserError)
    async def failed(_: Request, error: UserError) -> Response:
        # Users' mistakes are refused before; this is the index, or its server.
        _log.error("%s", error)
        return refusal(Refused(503, str(error)))

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, error: Exception) -> Response:
        return refusal(Refused(500, "the server failed at this request: its log says why."))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
