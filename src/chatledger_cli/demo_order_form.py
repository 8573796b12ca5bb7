"""The order form bot in the demo: what its customers write, and what Chat2Desk posts because of it.

Bodies are what Chat2Desk's receivers have seen, and the older bot's reference form.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import orjson

from chatledger.channels import CHANNELS
from chatledger.projects import Project
from chatledger_cli.demo_scene import NUMBERS_PER_RUN, Customer, Posted, Step
from chatledger_ingress.secrets import variables_of

ECHO_OFFSET = 50
"""An echo's message id is that of the message it follows, and this."""

_PLAIN = {
    "en": ("Hi!", "{number} Baker Street, London", "+44 20 7946 {phone:04d}", "{quantity}", "yes"),
    "ru": ("Здравствуйте", "Москва, улица Баркли, {number}", "+7 495 123 {phone:04d}", "{quantity} шт", "да"),
}
_WRONG = {
    "en": (
        "Hello",
        "{number}",  # an address needs letters
        "{number} Baker Street, London",
        "call me",
        "+44 20 7946 {phone:04d}",
        "0",
        "two",
        "x{quantity}",
        "maybe yes?",
        "Yes!",
    ),
    "ru": (
        "Добрый день",
        "дом",  # an address has at least 5 characters
        "Москва, улица Баркли, {number}",
        "+7",
        "+7 495 123 {phone:04d}",
        "51",
        "{quantity} штук",
        "не знаю",
        "Подтверждаю",
    ),
}
_COMMANDS = {
    "en": (
        "Good morning",
        "help",
        "{number} Baker Street, London",
        "back",
        "{number} Fleet Street, London",
        "restart",
        "{number} Baker Street, London",
        "+44 20 7946 {phone:04d}",
        "{quantity} pcs",
        "back",
        "x{quantity}",
        "ok",
    ),
    "ru": (
        "Привет",
        "помощь",
        "Москва, улица Баркли, {number}",
        "назад",
        "Москва, Тверская улица, {number}",
        "заново",
        "Москва, Тверская улица, {number}",
        "+7 495 123 {phone:04d}",
        "{quantity}",
        "ок",
    ),
}
_CANCELS = {
    "en": ("Hi", "{number} Baker Street, London", "cancel"),
    "ru": ("Привет", "Москва, улица Баркли, {number}", "отмена"),
}


class OrderFormScene:
    """The scene of one project with the flow order_form. Whoever posts needs this run's token."""

    CHANNEL = "chat2desk"
    FLOW = "order_form"

    def __init__(self, project: Project) -> None:
        self.project = project
        self._token = secrets.token_urlsafe(16)

    def environment(self, provider_url: str) -> dict[str, str]:
        """Replies go to the stand-in, which needs no real token."""
        variables = variables_of(self.project, self.CHANNEL)
        return {
            variables.webhook_token: self._token,
            variables.api_token: "demo",
            CHANNELS[self.CHANNEL].api_url_env: provider_url,
        }

    def customers(self, count: int, run: int, first: int) -> list[Customer]:
        """A client's id is the run and the number, so that it tells both."""
        return [customer_of(number, run) for number in range(count)]

    def webhook(self, customer: Customer, step: int, base_url: str) -> Posted:
        """Every third customer's is in the reference form, with ids as strings."""
        text, message_id = customer.steps[step].text, customer.message_id(step)
        if customer.number % 3 == 2:
            return self._posted({"client_id": customer.client_id, "message_id": str(message_id), "text": text})
        return self._posted(_real_form(customer, "inbox", "from_client", message_id, text))

    def echo(self, customer: Customer, step: int, text: str) -> Posted | None:
        """The provider echoes what we send; here, the first reply to each customer."""
        if step > 0:
            return None
        message_id = customer.message_id(step + ECHO_OFFSET)
        return self._posted(_real_form(customer, "outbox", "to_client", message_id, text))

    def invoices(self, customers: Sequence[Customer]) -> int:
        """One for each order, where the project's offer has a price."""
        has_price = self.project.offer is not None and self.project.offer.price is not None
        return sum(customer.orders for customer in customers) if has_price else 0

    def _posted(self, body: dict[str, Any]) -> Posted:
        headers = {"content-type": "application/json", "x-webhook-token": self._token}
        return Posted(path=f"/webhook/{self.CHANNEL}", headers=headers, body=orjson.dumps(body))


def customer_of(number: int, run: int) -> Customer:
    """Return the customer with this number, of the run that began at this Unix time in ms."""
    language = "ru" if number % 4 == 1 else "en"
    cancels = number % 20 == 3
    texts: tuple[str, ...]
    if cancels:
        texts = _CANCELS[language]
    elif number % 5 == 2:
        texts = _WRONG[language]
    elif number % 5 == 1:
        texts = _COMMANDS[language]
    else:
        texts = _PLAIN[language]
    variables = {"number": number + 1, "phone": number % NUMBERS_PER_RUN, "quantity": number % 50 + 1}
    return Customer(
        run=run,
        number=number,
        client_id=str(run * NUMBERS_PER_RUN + number),
        steps=tuple(Step(text=text.format(**variables)) for text in texts),
        orders=0 if cancels else 1,
    )


def _real_form(customer: Customer, hook_type: str, message_type: str, message_id: int, text: str) -> dict[str, Any]:
    client_id = int(customer.client_id)
    return {
        "hook_type": hook_type,
        "type": message_type,
        "message_id": message_id,
        "client_id": client_id,
        "dialog_id": client_id + 1,
        "channel_id": 11,
        "transport": "whatsapp",
        "text": text,
        "client": {"id": client_id, "phone": f"4420794{customer.number:05d}", "name": f"Customer {customer.number}"},
        "request_id": message_id + 1,
        "attachments": [],
    }
