"""An invoice as a message: what was bought, what it comes to, until when to pay and what has been paid."""

from __future__ import annotations

from datetime import date

from babel import Locale, UnknownLocaleError
from babel.dates import format_date

from chatledger.events.money import Money, format_money
from chatledger.events.orders import InvoiceDocument
from chatledger.flows.store_turn import item_lines, rate_text, sum_lines
from chatledger.pricing import Amounts
from chatledger.projects import Project


def invoice_text(invoice: InvoiceDocument, project: Project, language: str) -> str:
    """Write an invoice in `language`, as people of the project's region write amounts and dates."""

    def line(key: str, minor: int, **variables: str) -> str:
        money = Money(minor=minor, currency=invoice.currency)
        return project.text(language, key, amount=format_money(money, language, project.region), **variables)

    sums = Amounts(
        subtotal_minor=invoice.subtotal_minor,
        discount_minor=invoice.discount_minor,
        taxes=invoice.taxes,
        tax_minor=invoice.tax_minor,
        total_minor=invoice.total_minor,
    )
    lines = item_lines("invoice_line", invoice.lines, invoice.currency, project, language)
    lines += sum_lines(
        sums, invoice.discounts, invoice.currency, project, language, tax_inclusive=invoice.tax_inclusive
    )
    lines.append(line("total_line", invoice.total_minor))
    if invoice.tax_inclusive:
        lines += [
            line("tax_included_line", tax.tax_minor, rate=rate_text(tax.rate_bp))
            for tax in invoice.taxes
            if tax.tax_minor
        ]
    if invoice.status == "void":
        lines.append(project.text(language, "void_line"))
    else:
        if invoice.paid_minor:
            lines.append(line("paid_line", invoice.paid_minor))
            lines.append(line("balance_line", invoice.total_minor - invoice.paid_minor))
        if invoice.paid_minor < invoice.total_minor:
            due = format_day(invoice.due_on, language, project.region)
            lines.append(project.text(language, "due_line", date=due))
    issued = format_day(invoice.issued_on, language, project.region)
    variables = {"number": invoice.number, "order": invoice.order_number, "issued": issued}
    return project.text(language, "invoice", lines="\n".join(lines), **variables)


def format_day(day: date, language: str, region: str) -> str:
    """Write a day as people of this language and region do, e.g. `19 Jan 2026`."""
    for name in (f"{language}_{region}", language, "en"):
        try:
            return format_date(day, format="medium", locale=Locale.parse(name))
        except (UnknownLocaleError, ValueError):
            continue
    return day.isoformat()
