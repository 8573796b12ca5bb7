"""The customers of the demo: what each writes, in which body form, and what is to come of it.

All of it follows from a customer's number and the run's, so that a run can be told from its client ids and a second
run brings new clients. Bodies are what Chat2Desk's receivers have seen, and the older bot's reference form.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

NUMBERS_PER_RUN = 10_000
STEPS_PER_CUSTOMER = 100
ECHO_OFFSET = 50
"""An echo's message id is that of the message it follows, and this."""
DUPLICATED_EVERY = 20
"""One webhook in so many is sent twice: 5 %."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """One customer: each of `texts` gets one reply, and `orders` is how many orders they make."""

    run: int
    number: int
    texts: tuple[str, ...]
    orders: int

    @property
    def client_id(self) -> int:
        """The id at the provider: the run (Unix time in ms), then the number."""
        return self.run * NUMBERS_PER_RUN + self.number

    def message_id(self, step: int) -> int:
        """The provider's id of a message: unique over all customers and runs, and below 2**63."""
        return self.client_id * STEPS_PER_CUSTOMER + step

    def webhook(self, step: int) -> dict[str, Any]:
        """The body that brings message `step`: every third customer's in the reference form, with ids as strings."""
        text = self.texts[step]
        if self.number % 3 == 2:
            return {"client_id": str(self.client_id), "message_id": str(self.message_id(step)), "text": text}
        return self._real("inbox", "from_client", self.message_id(step), text)

    def echo(self, step: int, text: str) -> dict[str, Any]:
        """The provider's echo of our reply to message `step`."""
        return self._real("outbox", "to_client", self.message_id(step + ECHO_OFFSET), text)

    def is_sent_twice(self, step: int) -> bool:
        """Whether the provider sends this webhook again, as it does when an answer was lost."""
        return (self.number * 7 + step * 3) % DUPLICATED_EVERY == 3

    def _real(self, hook_type: str, message_type: str, message_id: int, text: str) -> dict[str, Any]:
        return {
            "hook_type": hook_type,
            "type": message_type,
            "message_id": message_id,
            "client_id": self.client_id,
            "dialog_id": self.client_id + 1,
            "channel_id": 11,
            "transport": "whatsapp",
            "text": text,
            "client": {"id": self.client_id, "phone": f"4420794{self.number:05d}", "name": f"Customer {self.number}"},
            "request_id": message_id + 1,
            "attachments": [],
        }


def customers(count: int, run: int) -> Iterator[Customer]:
    """Yield the customers of one run; `run` is its Unix time in ms."""
    for number in range(count):
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
        yield Customer(
            run=run,
            number=number,
            texts=tuple(text.format(**variables) for text in texts),
            orders=0 if cancels else 1,
        )
