"""One customer's whole dialogue over HTTP, each message sent when the reply to the one before has come."""

from __future__ import annotations

import itertools
import re
from typing import Any

import httpx

from tests.e2e.up_process import UpProcess, until
from tests.support.provider import ScriptedProvider

REPLY_TIMEOUT_S = 30.0
TEXTS = ("Hello", "221b Baker Street, London", "+44 20 7946 0018", "x3", "yes")
ORDER_NUMBER = re.compile(r"[0-9A-Z]{4}-[0-9A-Z]{4}")

_message_ids = itertools.count(50_000_000)


def webhook(client_id: int, text: str) -> dict[str, Any]:
    """A webhook of the provider, with a message id of its own."""
    return {
        "hook_type": "inbox",
        "type": "from_client",
        "message_id": next(_message_ids),
        "client_id": client_id,
        "dialog_id": 7,
        "channel_id": 11,
        "transport": "whatsapp",
        "text": text,
    }


def say(http: httpx.Client, provider: ScriptedProvider, client_id: int, text: str) -> str:
    """Send one message and return the reply to it."""
    before = len(provider.texts(str(client_id)))
    answer = http.post("/webhook/chat2desk", json=webhook(client_id, text))
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    replies: list[str] = until(
        lambda: provider.texts(str(client_id))[before:], timeout_s=REPLY_TIMEOUT_S, what=f"a reply to {text!r}"
    )
    return replies[0]


def order(http: httpx.Client, provider: ScriptedProvider, client_id: int) -> str:
    """Say everything up to the order; return its number."""
    replies = [say(http, provider, client_id, text) for text in TEXTS]
    assert "delivery address" in replies[0]
    assert "₹750" in replies[3]
    found = ORDER_NUMBER.search(replies[4])
    assert found is not None, replies[4]
    return found[0]


def order_and_invoice(http: httpx.Client, number: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The order and its invoice from the API, once billing has them."""

    def invoiced() -> dict[str, Any] | None:
        answer = http.get(f"/orders/{number}")
        found: dict[str, Any] = answer.json()
        return found if answer.status_code == 200 and found["invoice"] else None

    the_order = until(invoiced, timeout_s=REPLY_TIMEOUT_S, what=f"order {number} has its invoice")
    return the_order, http.get(the_order["invoice"]["href"]).json()


def check_what_came_of_it(system: UpProcess, http: httpx.Client, number: str, client_id: int) -> None:
    """The order, its invoice, the state now, and two replays that agree."""
    the_order, invoice = order_and_invoice(http, number)
    assert (the_order["number"], the_order["status"]) == (number, "confirmed")
    assert the_order["total"]["minor"] == invoice["total"]["minor"] == 75_000
    assert invoice["order"]["id"] == the_order["id"]
    conversation = f"order-form/chat2desk/{client_id}"
    assert '"COMPLETED"' in system.run("state", conversation, "--json").stdout
