"""The report as plain data, for JSON, for the text and for the page alike. Personal data is masked unless asked for.

Masked is what logs mask: every field whose class marks it as personal, and the client's id. How long a masked text is
is said, so that one can see that it differs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

import orjson

from chatledger.events.base import Event, masked
from chatledger.events.codec import encode_data, type_and_version
from chatledger.logs import MASK, mask_client
from chatledger.ports import LedgerEvent
from chatledger.what_if.changes import CLIENT_ID, Change, FieldChange
from chatledger.what_if.comparing import Compared, LeftOut
from chatledger.what_if.tally import ConversationTally, KindOfType, Tally

Document = dict[str, Any]

CONVERSATIONS_MAX = 10_000
"""As many conversations that differ are listed; a page with more is no longer quick, and nobody reads it."""
TURNS_MAX = 40
"""As many inputs of a conversation are shown, those that differ first of all, and what stands around them."""
TURNS_AROUND = 3
"""Inputs before and after one that differs, to show what was talked about."""
NOT_SHOWN = ("raw",)
"""The provider's whole body: long, and what matters of it is in other fields."""
_WORDS = re.compile(r"(\s+)")


def report(tally: Tally, left_out: LeftOut, turns: Mapping[str, Sequence[Compared]], *, personal: bool) -> Document:
    """Return what differs. `turns` has the conversations that are examples, with all that was compared of them."""
    differing = tally.differing()
    listed = differing[:CONVERSATIONS_MAX]
    listed += [name for name in turns if name in tally.conversations and name not in set(listed)]
    return {
        "differs": bool(differing),
        "totals": {
            "conversations": len(tally.conversations),
            "conversations_differ": len(differing),
            "decisions": tally.decisions,
            "decisions_differ": tally.decisions_differ,
            "decisions_failed": tally.decisions_failed,
            "not_decided": left_out.not_decided,
            "without_input": left_out.without_input,
            "incomplete_conversations": len(left_out.incomplete),
            "conversations_without_project": len(left_out.without_project),
        },
        "kinds": _kinds(tally.kinds),
        "conversations": [
            _conversation(name, tally.conversations[name], turns.get(name), personal=personal) for name in listed
        ],
        "conversations_left_out": len(differing) - len(listed),
        "examples": len(turns),
        "masked": not personal,
    }


def conversation_shown(conversation: str, *, personal: bool) -> str:
    """Return a conversation's id, with the client's masked as in logs."""
    if personal:
        return conversation
    project_and_channel, _, client = conversation.rpartition("/")
    return f"{project_and_channel}/{mask_client(client)}"


def turn(compared: Compared, *, personal: bool) -> Document:
    """Return one input and both decisions about it."""
    document: Document = {
        **_where(compared.cause),
        "input": _event(compared.cause.envelope.data, personal),
        "differs": compared.differs,
        "recorded": [_event(each, personal) for each in compared.recorded],
        "decided": [_event(each, personal) for each in compared.decided],
        "changes": [_change(each, personal) for each in compared.changes],
    }
    failure = compared.failure
    if failure is not None:
        text = failure.text if personal else ""
        document["failure"] = {"error": failure.error, "place": failure.place, "text": text}
    return document


def _conversation(name: str, tally: ConversationTally, turns: Sequence[Compared] | None, *, personal: bool) -> Document:
    assert tally.first is not None
    document: Document = {
        "conversation": conversation_shown(name, personal=personal),
        "decisions": tally.decisions,
        "differing": tally.differing,
        "failed": tally.failed,
        "first": _where(tally.first),
        "kinds": _kinds(tally.kinds),
    }
    if turns is not None:
        kept = _worth_showing(turns)
        document["turns"] = [turn(each, personal=personal) for each in kept]
        document["turns_left_out"] = len(turns) - len(kept)
    return document


def _worth_showing(turns: Sequence[Compared]) -> list[Compared]:
    """Return the inputs that differ and what stands around them, in order, up to the limit."""
    kept: set[int] = set()
    for number, each in enumerate(turns):
        around = range(max(0, number - TURNS_AROUND), min(len(turns), number + TURNS_AROUND + 1))
        if each.differs and len(kept | {*around}) <= TURNS_MAX:
            kept |= {*around}
    return [turns[number] for number in sorted(kept)]


def _kinds(kinds: Mapping[KindOfType, int]) -> list[Document]:
    """The commonest first."""
    ordered = sorted(kinds.items(), key=lambda each: (-each[1], each[0]))
    return [{"kind": kind, "type": type_name, "count": count} for (kind, type_name), count in ordered]


def _where(event: LedgerEvent) -> Document:
    return {
        "position": event.position,
        "time": event.envelope.time.isoformat(),
        "recorded_at": event.recorded_at.isoformat(),
        "type": type_and_version(event.envelope.data)[0],
    }


def _event(event: Event, personal: bool) -> Document:
    data = orjson.loads(encode_data(event)) if personal else masked(event, MASK)
    shown = {name: value for name, value in data.items() if name not in NOT_SHOWN}
    if not personal and CLIENT_ID in shown:
        shown[CLIENT_ID] = MASK
    return {"type": type_and_version(event)[0], "data": shown}


def _change(change: Change, personal: bool) -> Document:
    return {
        "kind": change.kind.value,
        "type": change.type,
        "recorded_place": change.recorded_place,
        "decided_place": change.decided_place,
        "fields": [_field(each, personal) for each in change.fields],
    }


def _field(change: FieldChange, personal: bool) -> Document:
    hidden = change.personal and not personal
    recorded, decided = (
        _hidden(value) if hidden else value if personal else masked(value, MASK)
        for value in (change.recorded, change.decided)
    )
    document = {"path": change.path, "recorded": recorded, "decided": decided}
    if not hidden and isinstance(recorded, str) and isinstance(decided, str) and " " in recorded + decided:
        document["words"] = words(recorded, decided)
    return document


def _hidden(value: Any) -> str | None:
    if value is None:
        return None
    return f"{MASK} ({len(value)} characters)" if isinstance(value, str) else MASK


def words(recorded: str, decided: str) -> list[list[str]]:
    """Return both texts as one list of stretches: ["=", both], ["-", recorded], ["+", decided]."""
    old, new = _WORDS.split(recorded), _WORDS.split(decided)
    stretches = []
    for what, first, last, new_first, new_last in SequenceMatcher(None, old, new, False).get_opcodes():
        if what == "equal":
            stretches.append(["=", "".join(old[first:last])])
            continue
        stretches += [
            [sign, text]
            for sign, text in (("-", "".join(old[first:last])), ("+", "".join(new[new_first:new_last])))
            if text
        ]
    return stretches
