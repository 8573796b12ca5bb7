"""What the demo shows of one project: customers, each with a script, and how their provider posts what happens.

All of it follows from a customer's number and the run's: a run can be told from its message ids, and a second one
brings new clients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from chatledger.projects import Project

NUMBERS_PER_RUN = 10_000
STEPS_PER_CUSTOMER = 100
DUPLICATED_EVERY = 20
"""One message in so many is sent twice: 5 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One message of a customer, and of each reply to it a part of its text."""

    text: str
    replies: tuple[str, ...] = ("",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """One customer: `orders` is how many orders they make; `run` is the run's Unix time in ms."""

    run: int
    number: int
    client_id: str
    steps: tuple[Step, ...]
    orders: int

    def message_id(self, step: int) -> int:
        """A number that no other message has, of whatever customer and run; below 2**63."""
        return (self.run * NUMBERS_PER_RUN + self.number) * STEPS_PER_CUSTOMER + step

    def is_sent_twice(self, step: int) -> bool:
        """Whether the provider sends this message again, as it does when an answer was lost."""
        return (self.number * 7 + step * 3) % DUPLICATED_EVERY == 3

    @property
    def replies(self) -> int:
        """How many replies they get."""
        return sum(len(step.replies) for step in self.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """One webhook: where it is posted, and what."""

    path: str
    headers: Mapping[str, str]
    body: bytes


class Scene(Protocol):
    """One project of the demo, behind the provider that its customers use."""

    project: Project

    def environment(self, provider_url: str) -> dict[str, str]:
        """The variables by which the services know the provider, and the provider them."""
        ...

    def customers(self, count: int, run: int, first: int) -> list[Customer]:
        """So many customers of a run; `first` is above the numbers of all customers of earlier runs."""
        ...

    def webhook(self, customer: Customer, step: int, base_url: str) -> Posted:
        """The webhook that brings a customer's message to `base_url`, by which the provider knows us."""
        ...

    def echo(self, customer: Customer, step: int, text: str) -> Posted | None:
        """What the provider posts because of the first reply to message `step`, if anything."""
        ...

    def invoices(self, customers: Sequence[Customer]) -> int:
        """How many invoices come of these customers' orders."""
        ...
