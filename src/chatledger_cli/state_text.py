"""A conversation's state in words, and what to say of an id that is not there."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from chatledger.events.codec import type_and_version
from chatledger.replay import KnownState
from chatledger_cli.moments import shown

SUGGESTIONS_MAX = 5


def describe_state(conversation: str, known: KnownState) -> str:
    """Return the state, one fact a line; what is not known is left out. Addresses are shown: it is where to deliver."""
    state, last = known.state, known.last_event
    facts: list[tuple[str, object]] = [
        ("conversation", conversation),
        ("status", state.status),
        ("version", state.version),
        ("flow", state.flow),
        ("language", state.language),
        ("address", state.address),
        ("phone", state.phone),
        ("quantity", state.quantity),
        ("order", state.order_id),
        ("wrong answers", state.wrong_answers or None),
        ("last message", state.last_message_at and shown(state.last_message_at)),
        ("expires", state.timer_due and f"{shown(state.timer_due)}, or later"),
        ("messages", sum(len(causes) for _, causes in state.handled) or None),
    ]
    if last is not None:
        facts += [
            ("last event", type_and_version(last.envelope.data)[0]),
            ("recorded", f"{shown(last.recorded_at)}, position {last.position}"),
        ]
    width = max(len(name) for name, _ in facts)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in facts if value is not None)


def alike(conversation: str, known: Sequence[str]) -> str:
    """Return the sentence that says that there is no such conversation, with ids that are alike."""
    containing = [each for each in known if conversation and conversation in each]
    near = difflib.get_close_matches(conversation, known, n=SUGGESTIONS_MAX, cutoff=0.6)
    suggestions = list(dict.fromkeys([*containing, *near]))[:SUGGESTIONS_MAX]
    message = f"the ledger knows no conversation {conversation!r}"
    if suggestions:
        return f"{message}; did you mean {', '.join(suggestions)}?"
    return f"{message}; an id looks like project/channel/client" + (f", such as {known[0]}" if known else "")
