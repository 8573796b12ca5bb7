"""From one input to what it causes: duplicate → timer → notice → limit → session → flow, in this order.

`decide()` is what the dialog worker, a replay and a test call. It is pure: the time is the input's, the rate is
counted on event time, so a replay decides the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from chatledger.conversation import (
    EXPIRY,
    Conversation,
    Status,
    evolve,
    messages_in_last_minute,
    was_handled,
)
from chatledger.errors import InvariantViolated
from chatledger.events import dialog
from chatledger.events.base import Event
from chatledger.events.envelope import Envelope, caused_by, project_of
from chatledger.events.inbound import MessageReceived, NoticeDue, TimerFired
from chatledger.flows import FLOWS
from chatledger.flows.notices import decide_notice
from chatledger.projects import Project
from chatledger.shop import emptied

SOURCE = "/chatledger/dialog"
THROTTLE_NOTICE_EVERY = timedelta(minutes=1)


def decide(state: Conversation, cause: Envelope, project: Project) -> list[Event]:
    """Return the events that `cause` leads to; none for a duplicate, an echo or a stale timer."""
    if was_handled(state, cause.id):
        return []
    if isinstance(cause.data, TimerFired) and cause.data.kind == EXPIRY:
        return _timer(state, cause, cause.data, project)
    if isinstance(cause.data, NoticeDue):
        return decide_notice(state, cause, project)
    if not isinstance(cause.data, MessageReceived):
        react = FLOWS[project.flow].react.get(type(cause.data))
        return react(state, cause, project) if react else []
    if messages_in_last_minute(state, cause.time) >= project.limits.messages_per_minute_and_client:
        return _throttle(state, cause, cause.data, project)
    events = FLOWS[project.flow].decide(_session(state, cause, project), cause, project)
    if state.timer_due is None:
        events.append(dialog.TimerRequested(kind=EXPIRY, due=cause.time + project.session))
    return events


def handle(
    state: Conversation, cause: Envelope, projects: Mapping[str, Project]
) -> tuple[Conversation, list[Envelope]]:
    """Decide about `cause` and fold what was decided: the next state, and the envelopes to publish.

    Raises InvariantViolated when no project of the conversation's name is configured.
    """
    project = projects.get(project_of(cause.conversation))
    if project is None:
        raise InvariantViolated(
            f"no project {project_of(cause.conversation)!r}: put its file back, or remove its records"
        )
    envelopes = caused_by(
        cause,
        decide(state, cause, project),
        source=SOURCE,
        stream=f"conversation-{cause.conversation}",
        last_version=state.version,
    )
    for envelope in envelopes:
        state = evolve(state, envelope)
    return state, envelopes


def _timer(state: Conversation, cause: Envelope, timer: TimerFired, project: Project) -> list[Event]:
    """End the session if it was silent for long enough, else wait for the rest of its time."""
    if timer.due != state.timer_due or state.last_message_at is None:
        return []
    silent_until = state.last_message_at + project.session
    if silent_until <= cause.time:
        return [dialog.ConversationExpired(last_message_at=state.last_message_at)]
    return [dialog.TimerRequested(kind=EXPIRY, due=silent_until)]


def _throttle(state: Conversation, cause: Envelope, message: MessageReceived, project: Project) -> list[Event]:
    """Leave the message alone; say so at most once a minute, and not where a person has taken over."""
    told_lately = state.throttled_at is not None and abs(cause.time - state.throttled_at) < THROTTLE_NOTICE_EVERY
    if told_lately or state.status is Status.HANDED_OFF:
        return [dialog.MessageThrottled(told=False)]
    notice = dialog.ReplyRequested(
        channel=message.channel,
        client_id=message.client_id,
        text=project.text(state.language, "throttled"),
        reply_to=message.reply_to,
    )
    return [dialog.MessageThrottled(told=True), notice]


def _session(state: Conversation, cause: Envelope, project: Project) -> Conversation:
    """A session whose time is over counts as not begun, even where its timer has not come yet."""
    if state.last_message_at is None or state.last_message_at + project.session > cause.time:
        return state
    return replace(state, status=Status.INITIAL, shop=emptied(state.shop) if state.shop else None)
