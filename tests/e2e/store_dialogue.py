"""A shopper on WhatsApp: signed webhooks as Twilio posts them, and the replies that come of them."""

from __future__ import annotations

import itertools
import re

import httpx

from chatledger_cli.webhooks import twilio_message, twilio_webhook
from tests.e2e.up_process import PUBLIC_BASE_URL, TWILIO_TOKEN, until
from tests.support.provider import ScriptedProvider

PATH = "/whatsapp/webhook"
REPLY_TIMEOUT_S = 30.0
WELCOME = "Welcome! Send me what you need"
CONFIRMED = "Order confirmed! Invoice sent."
INVOICE = re.compile(r"Invoice (INV-\d{4}-\d{6})\nOrder (?P<order>[0-9A-Z]{4}-[0-9A-Z]{4})")
EMPTY_TWIML = '<?xml version="1.0" encoding="UTF-8"?><Response/>'

_message_ids = itertools.count(7_000_000)


class Shopper:
    """One phone. `say` waits for the replies, `write` does not."""

    def __init__(self, http: httpx.Client, provider: ScriptedProvider, phone: str) -> None:
        self.http, self.provider, self.phone = http, provider, phone
        self.seen = 0

    @property
    def conversation(self) -> str:
        return f"store/twilio/{self.phone}"

    def form(self, text: str) -> dict[str, str]:
        return twilio_message(text, self.phone, next(_message_ids), name="Asha")

    def post(self, form: dict[str, str], *, path: str = PATH, token: str = TWILIO_TOKEN) -> httpx.Response:
        webhook = twilio_webhook(form, url=PUBLIC_BASE_URL + path, token=token)
        return self.http.post(path, content=webhook.body, headers=dict(webhook.headers))

    def write(self, text: str) -> str:
        """Send a message; return its event's id once it is acknowledged."""
        answer = self.post(self.form(text))
        assert (answer.status_code, answer.text) == (200, EMPTY_TWIML), answer.text
        assert answer.headers["content-type"] == "text/xml"
        return str(answer.headers["x-event-id"])

    def hear(self, count: int) -> list[str]:
        """Return the next `count` replies."""
        heard, self.seen = self.seen, self.seen + count
        until(
            lambda: len(self.provider.texts(self.phone)) >= self.seen,
            timeout_s=REPLY_TIMEOUT_S,
            what=f"{count} more replies to {self.phone}, who has {self.provider.texts(self.phone)}",
        )
        return self.provider.texts(self.phone)[heard : self.seen]

    def say(self, text: str, *, replies: int = 1) -> list[str]:
        self.write(text)
        return self.hear(replies)

    def order(self) -> str:
        """Say the document's dialogue, word for word; return the order's number."""
        [welcome] = self.say("Hi")
        assert welcome.startswith(WELCOME)
        [summary] = self.say("Cement x 100")
        assert "Total: ₹5,000" in summary
        assert "Confirm? 1=Yes, 2=No" in summary
        confirmed, invoice = self.say("1", replies=2)
        assert confirmed == CONFIRMED
        found = INVOICE.match(invoice)
        assert found is not None, invoice
        assert "Total: ₹5,000" in invoice
        return found["order"]
