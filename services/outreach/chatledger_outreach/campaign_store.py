"""Campaigns as rows of the schema `outreach`: each function is one statement, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from psycopg.rows import dict_row
from psycopg.types.json import Json

from chatledger.adapters.postgres import Connection
from chatledger.events.envelope import conversation_id
from chatledger.projects import Outreach as Terms
from chatledger_outreach.audience import Audience, ClientList, Segment
from chatledger_outreach.campaign_metrics import Metrics
from chatledger_outreach.campaigns import Campaign, CampaignStatus
from chatledger_outreach.message_text import Addressee
from chatledger_outreach.quiet import zone_name
from chatledger_outreach.sql import query

_COLUMNS = tuple(each.name for each in fields(Campaign))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCampaign:
    """A campaign with what belongs to its row alone: its number in lists, and when something is to be done next."""

    campaign: Campaign
    number: int
    due_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The clients of one time zone: the place of the first who was not told, and the one after the last."""

    time_zone: str
    next: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A client of a batch."""

    conversation: str
    addressee: Addressee


async def insert(connection: Connection, campaign: Campaign, *, due_at: datetime | None) -> None:
    """Lay down a new campaign."""
    await connection.execute(query("campaign_insert"), row_of(campaign, due_at))


async def update(connection: Connection, campaign: Campaign, *, due_at: datetime | None) -> None:
    """Write what a campaign has become."""
    await connection.execute(query("campaign_update"), row_of(campaign, due_at))


async def lock(connection: Connection, campaign_id: str) -> StoredCampaign | None:
    """Return a campaign that nobody else decides about until the end of this transaction."""
    return _only(await _rows(connection, "campaign_lock", {"id": campaign_id}))


async def find(connection: Connection, campaign_id: str, project: str | None) -> StoredCampaign | None:
    """Return a campaign, of any project or of one."""
    return _only(await _rows(connection, "campaign_find", {"id": campaign_id, "project": project}))


async def page(
    connection: Connection, *, project: str | None, status: CampaignStatus | None, before: int | None, limit: int
) -> list[StoredCampaign]:
    """Return campaigns, newest first, that stand before a number."""
    wanted = {"project": project, "status": status.value if status else None, "before": before, "limit": limit}
    return [_stored(row) for row in await _rows(connection, "campaign_list", wanted)]


async def settle(connection: Connection, campaign: Campaign, audience: Audience, *, terms: Terms, now: datetime) -> int:
    """Write down whom a campaign is for; return how many. Opted-out clients have no part in promotions."""
    asked = audience if isinstance(audience, Segment) else Segment()
    arguments = {
        "campaign_id": campaign.id,
        "project": campaign.project,
        "promotional": campaign.promotional,
        "by_zone": has_quiet_hours(campaign, terms),
        **{name: value for name, value in asdict(asked).items() if not isinstance(value, tuple)},
        "last_order_after": _last_order_after(asked, now),
        "tags_any": list(asked.tags_any),
        "tags_all": list(asked.tags_all),
        "languages": list(asked.languages),
        "conversations": None,
        "time_zones": None,
    }
    if isinstance(audience, ClientList):
        conversations = [conversation_id(campaign.project, audience.channel, each) for each in audience.clients]
        zones = [zone_name(each, terms.time_zone, now.year) for each in audience.clients]
        arguments |= {"conversations": conversations, "time_zones": zones}
    rows = await connection.execute(query("campaign_settle"), arguments)
    return cast("tuple[int]", await rows.fetchone())[0]


def has_quiet_hours(campaign: Campaign, terms: Terms) -> bool:
    """Whether it matters to a campaign what hour it is at a client's."""
    return campaign.promotional and terms.quiet_from != terms.quiet_until


async def parts(connection: Connection, campaign_id: str) -> list[Part]:
    """Return where there are clients who were not told."""
    rows = await connection.execute(query("campaign_parts"), (campaign_id,))
    return [Part(time_zone=row[0], next=row[1], stop=row[2]) for row in await rows.fetchall()]


async def batch(connection: Connection, campaign_id: str, *, first: int, count: int) -> list[Target]:
    """Return the clients in some places, as they are known now."""
    wanted = {"campaign_id": campaign_id, "first": first, "count": count}
    rows = await connection.execute(query("campaign_batch"), wanted)
    return [
        Target(
            conversation=row[0],
            addressee=Addressee(
                client=row[0].split("/", 2)[2], name=row[1], language=row[2], orders=row[3], last_order_at=row[4]
            ),
        )
        for row in await rows.fetchall()
    ]


async def told(connection: Connection, campaign_id: str, part: Part, count: int, *, empty: Sequence[str]) -> None:
    """Note that the next `count` clients of a part are told, but for those to whom there is nothing to say."""
    moved = {"campaign_id": campaign_id, "first": part.next, "count": count, "time_zone": part.time_zone}
    await connection.execute(query("campaign_told"), {**moved, "empty": list(empty)})
    await connection.execute(query("campaign_part_move"), moved)


async def metrics(connection: Connection, campaign: Campaign) -> Metrics:
    """Count what became of a campaign's messages."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query("campaign_metrics"), (campaign.id,))
        row = await cursor.fetchone()
    return Metrics(targeted=campaign.targeted, **(row or {}))


async def find_request(connection: Connection, project: str, key: str) -> tuple[str, str] | None:
    """Return the campaign of an earlier request with this key, and the digest of what it asked for."""
    rows = await connection.execute(query("campaign_request_find"), {"project": project, "key": key})
    row = await rows.fetchone()
    return (row[0], row[1]) if row else None


async def insert_request(connection: Connection, project: str, key: str, *, digest: str, campaign_id: str) -> bool:
    """Remember a request with a key; False where there is one already."""
    values = {"project": project, "key": key, "digest": digest, "campaign_id": campaign_id}
    return (await connection.execute(query("campaign_request_insert"), values)).rowcount == 1


def _last_order_after(asked: Segment, now: datetime) -> datetime | None:
    days = asked.last_order_within_days
    bounds = [
        each for each in (asked.last_order_after, now - timedelta(days=days) if days is not None else None) if each
    ]
    return max(bounds, default=None)


def row_of(campaign: Campaign, due_at: datetime | None) -> dict[str, Any]:
    """Return the row of a campaign, without its number."""
    values = {name: getattr(campaign, name) for name in _COLUMNS}
    return values | {
        "status": campaign.status.value,
        "audience": Json(dict(campaign.audience)),
        "content_variables": Json(dict(campaign.content_variables)),
        "due_at": due_at,
    }


async def _rows(connection: Connection, name: str, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query(name), arguments)
        return await cursor.fetchall()


def _only(rows: Sequence[Mapping[str, Any]]) -> StoredCampaign | None:
    return _stored(rows[0]) if rows else None


def _stored(row: Mapping[str, Any]) -> StoredCampaign:
    values = {name: _in_utc(row[name]) for name in _COLUMNS}
    values["status"] = CampaignStatus(row["status"])
    return StoredCampaign(campaign=Campaign(**values), number=row["number"], due_at=_in_utc(row["due_at"]))


def _in_utc(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value
