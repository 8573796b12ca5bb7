"""The flow `order_form`: address, phone, quantity, confirm.

INITIAL → WAITING_ADDRESS → WAITING_PHONE → WAITING_QUANTITY → WAITING_CONFIRMATION → COMPLETED. `cancel`, `restart`,
`back` and `help` work in every waiting status. Each message leaves at least one event, so that the history says that
it was handled. Checking answers is in order_form_answers.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from chatledger.conversation import QUESTIONS, Conversation, Status
from chatledger.events import dialog
from chatledger.events.base import Event
from chatledger.events.envelope import Envelope
from chatledger.events.ids import derive_id, order_number
from chatledger.events.inbound import MessageReceived
from chatledger.events.money import format_money
from chatledger.events.orders import OrderLine
from chatledger.flows.base import Flow
from chatledger.flows.language import guess_language
from chatledger.flows.order_form_answers import (
    Rejected,
    accept_address,
    accept_phone,
    accept_quantity,
)
from chatledger.flows.turn import Turn, reject
from chatledger.projects import Offer, Project

QUESTION_TEXTS = {
    Status.WAITING_ADDRESS: "ask_address",
    Status.WAITING_PHONE: "ask_phone",
    Status.WAITING_QUANTITY: "ask_quantity",
    Status.WAITING_CONFIRMATION: "ask_confirmation",
}
QUESTION_BEFORE = {
    Status.WAITING_PHONE: "address",
    Status.WAITING_QUANTITY: "phone",
    Status.WAITING_CONFIRMATION: "quantity",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FormTurn(Turn):
    """One message on its way through the order form."""

    def ask(self, status: Status, *before: str, **variables: object) -> dialog.ReplyRequested:
        """Ask the question of `status`, after the texts `before`."""
        question = {"item": self.item, "max": self.offer.quantity_max}
        return self.reply(*before, QUESTION_TEXTS[status], **(question | variables))

    @property
    def offer(self) -> Offer:
        """What is sold; a project file of this flow has it."""
        assert self.project.offer is not None
        return self.project.offer

    @property
    def item(self) -> str:
        """The offered thing's name in the client's language."""
        names = self.offer.item
        return names.get(self.language) or next(iter(names.values()))


def decide(state: Conversation, message: Envelope, project: Project) -> list[Event]:
    """Return what happens because the client wrote `message`, whose data is a MessageReceived."""
    assert isinstance(message.data, MessageReceived)
    text = message.data.text.strip()
    language = project.language(state.language)
    turn = FormTurn(state=state, message=message.data, cause=message, project=project, language=language)
    for word, command in COMMANDS[state.status].items():
        if project.means(text, word):
            return command(turn)
    return ANSWERS[state.status](turn, text)


def _start(turn: FormTurn, text: str) -> list[Event]:
    language = guess_language(text, turn.project.languages)
    started = dialog.ConversationStarted(flow=FLOW.name, language=language)
    return [started, replace(turn, language=language).ask(Status.WAITING_ADDRESS, "greeting")]


def _address(turn: FormTurn, text: str) -> list[Event]:
    answer = accept_address(text)
    if isinstance(answer, Rejected):
        return _reject(turn, "address", text, answer)
    return [dialog.AddressGiven(address=answer), turn.ask(Status.WAITING_PHONE)]


def _phone(turn: FormTurn, text: str) -> list[Event]:
    answer = accept_phone(text, turn.project.region)
    if isinstance(answer, Rejected):
        return _reject(turn, "phone", text, answer)
    return [dialog.PhoneGiven(phone=answer), turn.ask(Status.WAITING_QUANTITY)]


def _quantity(turn: FormTurn, text: str) -> list[Event]:
    words = frozenset(word for by_word in turn.project.words.values() for word in by_word["pieces"])
    answer = accept_quantity(text, words, turn.offer.quantity_max)
    if isinstance(answer, Rejected):
        return _reject(turn, "quantity", text, answer)
    return [
        dialog.QuantityGiven(quantity=answer),
        turn.ask(Status.WAITING_CONFIRMATION, **_summary(turn, quantity=answer)),
    ]


def _confirmation(turn: FormTurn, text: str) -> list[Event]:
    if turn.project.means(text, "no"):
        return _cancel(turn)
    if not turn.project.means(text, "yes"):
        return _reject(turn, "confirmation", text, Rejected(reason="not_yes_or_no"))
    offer, state = turn.offer, turn.state
    order_id = derive_id(turn.cause.id, "order")
    price = offer.price
    placed = dialog.OrderPlaced(
        order_id=order_id,
        order_number=order_number(order_id),
        lines=(
            OrderLine(name=turn.item, quantity=state.quantity or 0, unit_price_minor=price.minor if price else None),
        ),
        currency=price.currency if price else None,
        address=state.address or "",
        phone=state.phone or "",
    )
    promise = offer.delivery_promise.get(turn.language, "")
    return [placed, turn.reply("order_placed", number=placed.order_number, promise=promise)]


def _deferred(turn: FormTurn, text: str) -> list[Event]:
    return [dialog.MessageDeferred()]


def _cancel(turn: FormTurn) -> list[Event]:
    return [dialog.OrderCancelled(reason="client"), turn.reply("cancelled")]


def _restart(turn: FormTurn) -> list[Event]:
    return [dialog.ConversationRestarted(), turn.ask(Status.WAITING_ADDRESS, "restarted")]


def _back(turn: FormTurn) -> list[Event]:
    question = QUESTION_BEFORE.get(turn.state.status)
    if question is None:
        return [turn.ask(turn.state.status)]
    return [dialog.AnswerWithdrawn(question=question), turn.ask(QUESTIONS[question])]


def _help(turn: FormTurn) -> list[Event]:
    return [turn.ask(turn.state.status, "help", **_summary(turn))]


def _reject(turn: FormTurn, question: str, text: str, rejected: Rejected) -> list[Event]:
    again = turn.ask(turn.state.status, f"rejected_{rejected.reason}", **_summary(turn))
    return reject(turn, question=question, reason=rejected.reason, text=text, again=again)


def _summary(turn: FormTurn, quantity: int | None = None) -> dict[str, object]:
    count = quantity or turn.state.quantity or 0
    price = turn.offer.price
    total = format_money(price * count, turn.language, turn.project.region) if price else ""
    line = turn.project.text(turn.language, "price_line", total=total) if price else ""
    return {
        "address": turn.state.address or "",
        "phone": turn.state.phone or "",
        "quantity": count,
        "price": line,
    }


Answer = Callable[[FormTurn, str], list[Event]]
Command = Callable[[FormTurn], list[Event]]

ANSWERS: dict[Status, Answer] = {
    Status.INITIAL: _start,
    Status.WAITING_ADDRESS: _address,
    Status.WAITING_PHONE: _phone,
    Status.WAITING_QUANTITY: _quantity,
    Status.WAITING_CONFIRMATION: _confirmation,
    Status.COMPLETED: _start,
    Status.CANCELLED: _start,
    Status.HANDED_OFF: _deferred,
}
"""What is done with a text that is no command, by status."""

_EVERYWHERE: dict[str, Command] = {"cancel": _cancel, "restart": _restart, "back": _back, "help": _help}
COMMANDS: dict[Status, dict[str, Command]] = {
    **{status: {} for status in Status},
    **dict.fromkeys(QUESTION_TEXTS, _EVERYWHERE),
    Status.HANDED_OFF: {"restart": _restart},
}
"""The commands that are understood, by status. Where nothing was begun, every text begins."""

_ASKED = frozenset({"item", "max", "address", "phone", "quantity", "price"})
_NONE: frozenset[str] = frozenset()

FLOW = Flow(
    name="order_form",
    decide=decide,
    texts={
        "greeting": frozenset({"item"}),
        "ask_address": frozenset({"item"}),
        "ask_phone": frozenset({"item"}),
        "ask_quantity": frozenset({"item", "max"}),
        "ask_confirmation": _ASKED,
        "price_line": frozenset({"total"}),
        "order_placed": frozenset({"number", "promise"}),
        "cancelled": _NONE,
        "restarted": _NONE,
        "help": _NONE,
        "handoff": _NONE,
        "throttled": _NONE,
        "rejected_address_length": _NONE,
        "rejected_address_no_letters": _NONE,
        "rejected_phone_invalid": _NONE,
        "rejected_quantity_range": frozenset({"max"}),
        "rejected_not_yes_or_no": _NONE,
    },
    words=("yes", "no", "cancel", "restart", "back", "help", "pieces"),
    sections=("offer",),
)
