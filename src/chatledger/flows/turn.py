"""One message on its way through a flow, and what every flow does with one: answer, reject, hand over to a person."""

from __future__ import annotations

from dataclasses import dataclass

from chatledger.conversation import Conversation
from chatledger.events import dialog
from chatledger.events.base import Event
from chatledger.events.envelope import Envelope
from chatledger.events.inbound import MessageReceived
from chatledger.projects import Project

ANSWER_KEPT_LENGTH = 200
"""A rejected answer is kept for whoever asks why; no more of it than an accepted address may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message, and what is known when it comes in."""

    state: Conversation
    message: MessageReceived
    cause: Envelope
    project: Project
    language: str

    def reply(self, *keys: str, **variables: object) -> dialog.ReplyRequested:
        """Say the texts `keys`, one paragraph each."""
        return self.say(*(self.project.text(self.language, key, **variables) for key in keys))

    def say(self, *paragraphs: str) -> dialog.ReplyRequested:
        """Answer the message with these paragraphs."""
        return dialog.ReplyRequested(
            channel=self.message.channel,
            client_id=self.message.client_id,
            text="\n\n".join(paragraph.strip() for paragraph in paragraphs),
            reply_to=self.message.reply_to,
        )


def reject(turn: Turn, *, question: str, reason: str, text: str, again: dialog.ReplyRequested) -> list[Event]:
    """Say why and ask `again`; after too many wrong answers in a row, ask for a person instead."""
    said = dialog.AnswerRejected(question=question, reason=reason, answer=text[:ANSWER_KEPT_LENGTH])
    if turn.state.wrong_answers + 1 >= turn.project.wrong_answers_max:
        return [said, dialog.HandoffRequested(reason="too_many_wrong_answers"), turn.reply("handoff")]
    return [said, again]


def argument(project: Project, text: str, word: str) -> str | None:
    """Return what follows one of the ways to say `word` at the beginning of `text`, None where nothing does.

    Of several ways the longest counts: `cancel order 7QK2-M0XF` is about 7QK2-M0XF.
    """
    said = text.split()
    ways = {tuple(way.split()) for language in project.languages for way in project.words[language][word]}
    for way in sorted(ways, key=lambda way: (-len(way), way)):
        if len(said) > len(way) and tuple(each.casefold() for each in said[: len(way)]) == way:
            return " ".join(said[len(way) :])
    return None
