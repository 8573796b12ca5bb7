"""What reminders say, from the project's texts in the client's language. Pure."""

from __future__ import annotations

from chatledger.events.cart import CartAbandoned
from chatledger.events.money import Money, format_money
from chatledger.events.orders import InvoiceIssued
from chatledger.flows.invoice_text import format_day
from chatledger.projects import Project
from chatledger_outreach.clients import Client


def payment_text(project: Project, client: Client, invoice: InvoiceIssued) -> str:
    """Say that an invoice is due soon."""
    language = project.language(client.language)
    return project.text(
        language,
        "reminder_payment_due",
        number=invoice.number,
        total=money_text(project, language, invoice.total_minor, invoice.currency),
        due_on=format_day(invoice.due_on, language, project.region),
    )


def abandoned_text(project: Project, client: Client, left: CartAbandoned) -> str:
    """Say that there is something in the cart."""
    language = project.language(client.language)
    key = "reminder_cart_abandoned_one" if left.items == 1 else "reminder_cart_abandoned"
    total = money_text(project, language, left.total_minor, left.currency)
    return project.text(language, key, items=str(left.items), total=total)


def follow_up_text(project: Project, client: Client, order_number: str) -> str:
    """Ask how the order was."""
    return project.text(client.language, "reminder_order_follow_up", number=order_number)


def restock_text(project: Project, client: Client, sku: str) -> str:
    """Say that a product is in stock again."""
    return project.text(client.language, "reminder_restock", product=product_name(project, sku))


def product_name(project: Project, sku: str) -> str:
    """Return what the project calls a product."""
    catalogue = project.store.catalogue if project.store else ()
    return next((product.name for product in catalogue if product.sku == sku), sku)


def money_text(project: Project, language: str, minor: int, currency: str) -> str:
    """Write an amount as people of the language and region do."""
    return format_money(Money(minor=minor, currency=currency), language, project.region)
