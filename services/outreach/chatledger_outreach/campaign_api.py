"""The HTTP routes of campaigns. A rule that a command breaks is a 409; errors are RFC 9457 problems.

The process that serves them writes what is decided into Postgres; the service's own process publishes it, and does the
jobs. A caller whose key is for one project sees that one alone.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from chatledger.access import Principal, Scope
from chatledger.errors import InvalidFields
from chatledger.http_api import ID_LENGTH_MAX, Guard, ProblemRoute, Refused, cursor_of, position_of, project_for
from chatledger.http_problems import Problem, problem_of_fields, problem_of_status
from chatledger.projects import Project
from chatledger_outreach import campaign_store as store
from chatledger_outreach.campaign_commands import Campaigns, KeyUsedBefore, NoSuchCampaign, RequestKey
from chatledger_outreach.campaign_store import StoredCampaign
from chatledger_outreach.campaign_views import (
    CampaignPage,
    CampaignView,
    MetricsView,
    NewCampaign,
    campaign_view,
    draft_of,
    metrics_view,
)
from chatledger_outreach.campaigns import CampaignStatus, RuleBroken
from chatledger_outreach.parts import Outreach

PAGE_CAMPAIGNS_MAX = 100
COMMANDS = ("start", "pause", "resume", "cancel")
Key = Annotated[str | None, Header(alias="idempotency-key", min_length=1, max_length=ID_LENGTH_MAX)]


def router(outreach: Outreach, guard: Guard) -> APIRouter:
    """Return the routes, below /whatsapp."""
    routes = APIRouter(route_class=ProblemRoute, tags=["campaigns"])
    _add_writing(routes, outreach, guard)
    _add_reading(routes, outreach, guard)
    return routes


def _add_writing(routes: APIRouter, outreach: Outreach, guard: Guard) -> None:
    commands, writer = Campaigns(outreach), guard(Scope.WRITE)

    @routes.post("/campaigns", status_code=201, response_model=CampaignView, name="create_campaign")
    async def create_campaign(
        request: Request,
        response: Response,
        wanted: NewCampaign,
        principal: Principal = Depends(writer),
        key: Key = None,
    ) -> CampaignView:
        """Prepare a campaign, and start it at once, at a time, or when it is told to."""
        project = _project(outreach, wanted.project, principal)
        asked = _request_key(key, "create", wanted.model_dump(mode="json", by_alias=True))
        with _explained():
            known = await commands.earlier(project.name, asked)
            if known is None:
                draft = draft_of(wanted, project, campaign_id=str(uuid.uuid4()), now=outreach.clock.now())
                known = await commands.create(draft, start=wanted.start_immediately, request=asked)
        response.headers["location"] = request.url_for("read_campaign", id=known.campaign.id).path
        return campaign_view(known)

    def add_command(name: str) -> None:
        said = f"{name.capitalize()} a campaign."
        path = f"/campaigns/{{id}}/{name}"

        @routes.post(path, response_model=CampaignView, name=f"{name}_campaign", description=said)
        async def command(id: str, principal: Principal = Depends(writer), key: Key = None) -> CampaignView:
            asked = _request_key(key, name, _searchable(id))
            with _explained():
                return campaign_view(await commands.command(id, name, project=principal.project, request=asked))

    for each in COMMANDS:
        add_command(each)


def _add_reading(routes: APIRouter, outreach: Outreach, guard: Guard) -> None:
    commands, reader = Campaigns(outreach), guard(Scope.READ)

    @routes.get("/campaigns", response_model=CampaignPage, name="list_campaigns")
    async def list_campaigns(
        principal: Principal = Depends(reader),
        project: Annotated[str | None, Query(max_length=ID_LENGTH_MAX)] = None,
        status: CampaignStatus | None = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_CAMPAIGNS_MAX)] = 50,
        cursor: str | None = None,
    ) -> CampaignPage:
        """List campaigns, newest first; `nextCursor` of one page is the `cursor` of the next."""
        before = None if cursor is None else position_of(cursor)
        named = project_for(principal, project)
        wanted = None if named is None else _searchable(named)
        async with commands.transaction() as connection:
            rows = await store.page(connection, project=wanted, status=status, before=before, limit=limit + 1)
        page = rows[:limit]
        return CampaignPage(
            campaigns=[campaign_view(each) for each in page],
            next_cursor=cursor_of(page[-1].number) if len(rows) > limit else None,
        )

    @routes.get("/campaigns/{id}", response_model=CampaignView, name="read_campaign")
    async def read_campaign(id: str, principal: Principal = Depends(reader)) -> CampaignView:
        """Read one campaign."""
        async with commands.transaction() as connection:
            return campaign_view(_only(id, await store.find(connection, _searchable(id), principal.project)))

    @routes.get("/campaigns/{id}/metrics", response_model=MetricsView, name="read_campaign_metrics")
    async def read_campaign_metrics(id: str, principal: Principal = Depends(reader)) -> MetricsView:
        """Count what became of a campaign's messages."""
        async with commands.transaction() as connection:
            campaign = _only(id, await store.find(connection, _searchable(id), principal.project)).campaign
            return metrics_view(campaign, await store.metrics(connection, campaign))


@contextmanager
def _explained() -> Iterator[None]:
    """Answer what may not be with the problem that says why."""
    try:
        yield
    except RuleBroken as rule:
        raise Refused(Problem(status=409, title="Rule broken", detail=str(rule))) from rule
    except KeyUsedBefore as wrong:
        raise Refused(Problem(status=422, title="Idempotency key reused", detail=str(wrong))) from wrong
    except NoSuchCampaign as wrong:
        raise Refused(problem_of_status(404, str(wrong))) from wrong
    except InvalidFields as wrong:
        raise Refused(problem_of_fields(list(wrong.fields.items()))) from wrong


def _project(outreach: Outreach, named: str | None, principal: Principal) -> Project:
    """Return the project that a request is about; where there is only one, it need not be named."""
    if principal.project is not None and named not in (None, principal.project):
        raise Refused(problem_of_status(403, f"this key is for the project {principal.project} alone"))
    name = principal.project or named
    if name is None and len(outreach.projects) == 1:
        [name] = outreach.projects
    project = outreach.projects.get(name or "")
    if project is None:
        raise Refused(problem_of_fields([("project", "must be a project that has a section outreach")]))
    return project


def _request_key(key: str | None, command: str, asked: object) -> RequestKey | None:
    if key is None:
        return None
    # Not orjson, which refuses what nobody has checked yet: numbers of any length, halves of surrogate pairs.
    digest = hashlib.sha256(json.dumps([command, asked], sort_keys=True).encode()).hexdigest()
    return RequestKey(key=key, digest=digest)


def _only(id: str, found: StoredCampaign | None) -> StoredCampaign:
    if found is None:
        raise Refused(problem_of_status(404, f"there is no campaign {id!r}"))
    return found


def _searchable(text: str) -> str:
    if "\0" in text or len(text) > ID_LENGTH_MAX:
        raise Refused(problem_of_status(404, "no id or project looks like this"))
    return text
