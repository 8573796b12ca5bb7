"""The store in the demo: customers on WhatsApp, whose messages Twilio posts as signed forms."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from chatledger.channels import CHANNELS
from chatledger.projects import Project
from chatledger_cli.demo_scene import Customer, Posted
from chatledger_cli.demo_store_scripts import SCRIPTS, Till
from chatledger_cli.webhooks import TWILIO_ACCOUNT, WHATSAPP_NUMBER, twilio_message, twilio_webhook
from chatledger_ingress.secrets import variables_of

FIRST_CLIENT = 919_000_000_000
"""Indian mobile numbers begin with 9; from this one on they are given out."""


class StoreScene:
    """The scene of one project with the flow store, whose account at Twilio has this run's token."""

    CHANNEL = "twilio"
    FLOW = "store"
    PATH = "/whatsapp/webhook"

    def __init__(self, project: Project) -> None:
        assert project.store is not None, "its flow needs it"
        self.project = project
        self._till = Till(project, project.store)
        self._token = secrets.token_hex(16)

    def environment(self, provider_url: str) -> dict[str, str]:
        """One token signs webhooks and opens the API."""
        variables = variables_of(self.project, self.CHANNEL)
        return {
            variables.webhook_token: self._token,
            variables.account or "": TWILIO_ACCOUNT,
            variables.sender or "": WHATSAPP_NUMBER,
            CHANNELS[self.CHANNEL].api_url_env: provider_url,
        }

    def customers(self, count: int, run: int, first: int) -> list[Customer]:
        """Phone numbers are given out one after the other, because they are too short to tell the run."""
        return [self._customer(number, run, first) for number in range(count)]

    def webhook(self, customer: Customer, step: int, base_url: str) -> Posted:
        """The digits of the message's number are those of its SID, which is hexadecimal."""
        form = twilio_message(
            customer.steps[step].text,
            customer.client_id,
            int(str(customer.message_id(step)), 16),
            to=WHATSAPP_NUMBER,
            account=TWILIO_ACCOUNT,
            name=f"Customer {customer.number}",
        )
        webhook = twilio_webhook(form, url=base_url + self.PATH, token=self._token)
        return Posted(path=self.PATH, headers=webhook.headers, body=webhook.body)

    def echo(self, customer: Customer, step: int, text: str) -> Posted | None:
        """Twilio echoes nothing: it reports on each message, which is the stand-in's to do."""
        return None

    def invoices(self, customers: Sequence[Customer]) -> int:
        """One for each order: everything in a store has a price."""
        return sum(customer.orders for customer in customers)

    def _customer(self, number: int, run: int, first: int) -> Customer:
        script, orders = SCRIPTS[number % len(SCRIPTS)]
        return Customer(
            run=run,
            number=number,
            client_id=f"+{FIRST_CLIENT + first + number}",
            steps=script(self._till),
            orders=orders,
        )
