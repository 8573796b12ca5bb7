"""What the HTTP APIs of all services share: errors as problems, bounds, cursors, and the check of keys."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol

import structlog
from fastapi import Depends, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from chatledger.access import KEY_PREFIX, Principal, Scope
from chatledger.errors import OutsideUnavailable
from chatledger.http_problems import MEDIA_TYPE, PROBLEM_REFERENCE, Problem, problem_of_fields, problem_of_status

POSITION_MAX = 2**63 - 1
ID_LENGTH_MAX = 200
BODY_BYTES_MAX = 2 * 2**20
"""Room for the longest list of clients that a campaign can have."""
RETRY_AFTER_S = 5
UNAVAILABLE = Problem(
    status=503,
    title="Unavailable",
    detail="a database or a broker is away; try again later",
    headers={"retry-after": str(RETRY_AFTER_S)},
)
BODY_TOO_LARGE = Problem(status=413, title="Body too large", detail=f"the limit is {BODY_BYTES_MAX} bytes")
NO_JSON = Problem(status=415, title="Wrong media type", detail="Content-Type: send application/json")
UNREADABLE = problem_of_fields([("body", "is no JSON that can be read")])
BAD_CURSOR = problem_of_fields([("cursor", "take it from the page before, which names the next one")])
_BEARER = HTTPBearer(auto_error=False, scheme_name="API key", description="From `chatledger keys create`.")
"""Says in the description of the API that a key is needed; the check is ours, which answers with problems."""
_log = structlog.get_logger()


class Refused(Exception):
    """A request that cannot be served, and the problem to answer it with."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.detail)


class ProblemRoute(APIRoute):
    """Answers with a problem whatever goes wrong in a route, in whichever application it is mounted.

    It takes no more than BODY_BYTES_MAX, and no parameter that it does not know: a misspelt filter would show all.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.responses = {**_described_problems(self.methods or set(), self.path), **self.responses}

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the route."""
        handle, known = super().get_route_handler(), _query_names(self.dependant)

        async def handle_or_explain(request: Request) -> Response:
            try:
                _require_known(request, known)
                return await handle(Request(request.scope, _bounded(request.receive)))
            except Refused as refused:
                problem = refused.problem
            except RequestValidationError as wrong:
                problem = _problem_of_input(request, wrong.errors())
            except HTTPException as wrong:
                # The framework's, for a body that cannot be read; it is also what it makes of a Refused at that point.
                problem = wrong.__cause__.problem if isinstance(wrong.__cause__, Refused) else UNREADABLE
            except OutsideUnavailable as wrong:
                # What Postgres said names addresses inside; it is for the log alone.
                _log.warning("api.unavailable", path=request.url.path, error=str(wrong))
                problem = UNAVAILABLE
            body = problem.body(request.url.path)
            return Response(body, problem.status, {**problem.headers, "content-type": MEDIA_TYPE})

        return handle_or_explain


class KeyRing(Protocol):
    """Knows the keys."""

    async def principal(self, key: str) -> Principal | None:
        """Return whom `key` stands for, None where it is unknown or revoked. Raises OutsideUnavailable."""
        ...


class Guard:
    """Checks `Authorization: Bearer <key>`. `Depends(guard(Scope.WRITE))` gives a route its caller."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def __call__(self, scope: Scope) -> Callable[[Request], Awaitable[Principal]]:
        """Return the dependency that lets through who has `scope`. It raises Refused: 401, or 403."""

        async def allowed(request: Request, _: object = Depends(_BEARER)) -> Principal:
            kind, _, key = request.headers.get("authorization", "").partition(" ")
            if kind.lower() != "bearer" or not key.startswith(KEY_PREFIX):
                raise Refused(_unauthorized("send an API key as Authorization: Bearer clk_..."))
            principal = await self._keys.principal(key.strip())
            if principal is None:
                raise Refused(_unauthorized("this key is unknown or was revoked"))
            if not principal.may(scope):
                detail = f"this key has the scope {principal.scope.name.lower()}; this needs {scope.name.lower()}"
                raise Refused(problem_of_status(403, detail))
            return principal

        return allowed


def project_for(principal: Principal, asked_for: str | None) -> str | None:
    """Return the project to look in: the one that is asked for, or else the key's own; None: all of them.

    Raises Refused, 403, when the key is for another one.
    """
    if principal.project is not None and asked_for not in (None, principal.project):
        raise Refused(problem_of_status(403, f"this key is for the project {principal.project} alone"))
    return asked_for or principal.project


def cursor_of(position: int) -> str:
    """Return the cursor of the page that follows `position`: opaque, so that nobody counts on what is in it."""
    return base64.urlsafe_b64encode(str(position).encode()).decode().rstrip("=")


def position_of(cursor: str) -> int:
    """Return the position in a cursor. Raises Refused when it is none of ours."""
    try:
        position = int(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError) as wrong:
        raise Refused(BAD_CURSOR) from wrong
    if not 0 <= position <= POSITION_MAX:
        raise Refused(BAD_CURSOR)
    return position


def _unauthorized(detail: str) -> Problem:
    return problem_of_status(401, detail, {"www-authenticate": "Bearer"})


def _described_problems(methods: set[str], path: str) -> dict[int | str, dict[str, Any]]:
    """What a route may answer beside its own, for the description of the API."""
    described = {
        401: "There is no API key, or one that is unknown or revoked.",
        403: "The key's scope or project does not allow it.",
        422: "Some field is wrong; `errors` names it.",
        503: "A database or a broker is away; try again later.",
    }
    if "{" in path:
        described[404] = "There is no such thing, or the key does not see it."
    if "POST" in methods or "{" in path:
        described[409] = "A rule stands against it; `detail` says which."
    if methods - {"GET", "DELETE"}:
        described |= {413: "The body is too large.", 415: "The body is not declared as JSON."}
    content = {MEDIA_TYPE: {"schema": PROBLEM_REFERENCE}}
    return {status: {"description": text, "content": content} for status, text in sorted(described.items())}


def _query_names(dependant: Dependant) -> frozenset[str]:
    own = frozenset(field.alias for field in dependant.query_params)
    return own.union(*map(_query_names, dependant.dependencies))


def _require_known(request: Request, known: frozenset[str]) -> None:
    unknown = sorted(request.query_params.keys() - known)
    if unknown:
        there_are = f"no such parameter; there are: {', '.join(sorted(known)) or 'none'}"
        raise Refused(problem_of_fields([(name, there_are) for name in unknown]))


def _bounded(receive: Receive) -> Receive:
    left = BODY_BYTES_MAX

    async def receive_bounded() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise Refused(BODY_TOO_LARGE)
        return message

    return receive_bounded


def _problem_of_input(request: Request, errors: Sequence[Any]) -> Problem:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_json = media_type == "application/json" or media_type.endswith("+json")
    if not is_json and any(each["loc"] == ("body",) and each["type"] != "missing" for each in errors):
        return NO_JSON
    return problem_of_fields([_field_and_fault(each) for each in errors])


def _field_and_fault(error: Any) -> tuple[str, str]:
    if error["type"] == "json_invalid":
        return "body", f"is no JSON: {error['ctx']['error']}"
    *before, last = error["loc"]
    name = f"{before[-1]}.{last}" if before and isinstance(last, int) else str(last)
    return name, str(error["msg"]).removeprefix("Value error, ")
