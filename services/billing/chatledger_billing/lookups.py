"""What the routes of orders and of invoices share: how one is found, and how a rule is answered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, overload

from fastapi import Query, Request

from chatledger.http_api import ID_LENGTH_MAX, Refused
from chatledger.http_problems import Problem, problem_of_status
from chatledger_billing.read_model import Row
from chatledger_billing.rules import RuleBroken

PAGE_MAX = 100
ProjectName = Annotated[str | None, Query(description="Only this project's.", max_length=ID_LENGTH_MAX)]
ClientId = Annotated[
    str | None, Query(description="Only this client's, by the channel's id.", max_length=ID_LENGTH_MAX)
]


def client_of(text: str | None) -> str | None:
    """Return the client that is asked for. No id begins with a blank: it is a number's plus that was not escaped."""
    return searchable("+" + text[1:] if text is not None and text.startswith(" ") else text)


@overload
def searchable(text: str) -> str: ...
@overload
def searchable(text: str | None) -> str | None: ...
def searchable(text: str | None) -> str | None:
    """Return what can be looked for. Raises Refused, 404, for what nothing can be called."""
    if text is not None and ("\0" in text or len(text) > ID_LENGTH_MAX):
        raise Refused(problem_of_status(404, "no id, number, client or project looks like this"))
    return text


def only(kind: str, id: str, rows: list[Row]) -> Row:
    """Return the one that was found. Raises Refused: 404 for none, 409 where a number stands for several."""
    if not rows:
        raise Refused(problem_of_status(404, f"there is no {kind} with the id or number {id!r}"))
    if len(rows) > 1 and rows[0]["id"] != id:
        detail = f"more than one {kind} has the number {id!r}: add ?project= or use the id"
        raise Refused(Problem(status=409, title="Ambiguous number", detail=detail))
    return rows[0]


def link_to(request: Request, name: str, id: str | None) -> str | None:
    """Return the path of a route, None where there is nothing to lead to."""
    return None if id is None else str(request.url_for(name, id=id).path)


@contextmanager
def rules_explained() -> Iterator[None]:
    """Answer a broken rule with a 409 that says it."""
    try:
        yield
    except RuleBroken as rule:
        raise Refused(Problem(status=409, title="Rule broken", detail=str(rule))) from rule
