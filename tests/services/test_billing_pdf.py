"""An invoice as PDF: what stands on the page, that it is shown as text, and that every sign of it has a glyph."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from datetime import date
from typing import Any

import orjson
import pytest

from chatledger.errors import ConfigurationError
from chatledger.events.orders import Discount
from chatledger_billing import decisions, invoices
from chatledger_billing.detailed_views import row_of_invoice
from chatledger_billing.pdf import LABELS, breakable, invoice_text, render, template
from chatledger_billing.store import memory_store
from chatledger_billing.unit_of_work import UnitOfWork
from tests.services.billing_given import NOON, PROJECTS, WATER, cause, placed
from tests.services.test_billing_api import INVOICE, api_on

TODAY = date(2026, 11, 21)
RUSSIAN = replace(PROJECTS["order-form"], languages=("ru",), region="RU")
HOSTILE = '#panic("no") *bold* $x$ @reference [a] \\ "quoted" #read("/etc/passwd") вода ₹'


def row(**changes: Any) -> dict[str, Any]:
    """An invoice over 3 × 250.00 with 18 % tax inside and 5 % off, of which 100.00 are paid."""
    lines = (replace(WATER, tax_bp=1_800, sku="W-19", unit="bottle"),)
    order = replace(
        placed(lines=lines), discounts=(Discount(name="Autumn", percent_bp=500),), tax_inclusive=True, **changes
    )
    work = UnitOfWork(memory_store())
    work.place(decisions.place(cause(order), order, PROJECTS))
    stream = invoices.invoice_stream(invoices.invoice_id_of(order.order_id))
    invoice = work.invoice(invoices.invoice_id_of(order.order_id))
    assert invoice is not None
    paid = invoices.pay(invoice, reference="upi-1", amount_minor=10_000, method="upi", paid_at=NOON)
    work.add(stream, work.stream(stream)[-1].cause, *paid)
    return dict(row_of_invoice(work.stream(stream), order.order_number))


def picture(text: dict[str, Any]) -> bytes:
    """The page as PNG, with the fonts that the PDF has."""
    typst = pytest.importorskip("typst", reason="the extra pdf is not installed")
    image = typst.compile(
        template(), format="png", ppi=40, sys_inputs={"invoice": orjson.dumps(text).decode()}, ignore_system_fonts=True
    )
    assert isinstance(image, bytes)
    return image


def test_the_page_says_what_the_invoice_says() -> None:
    text = invoice_text(row(), PROJECTS["order-form"], today=TODAY)
    assert (text["number"], text["order"], text["client"]) == ("INV-2026-000001", placed().order_number, "1")
    assert (text["issued_on"], text["due_on"]) == ("21 November 2026", "5 December 2026")
    assert text["lines"] == [
        {"name": "drinking water, 19 l", "sku": "W-19", "quantity": "3 bottle", "price": "₹250", "amount": "₹750"}
    ]
    assert [(each["name"], each["note"], each["amount"]) for each in text["sums"]] == [
        ("Subtotal", "", "₹750"),
        ("Discount", "Autumn", "−₹37.50"),
        ("Tax 18 % included", "on ₹603.81", "₹108.69"),
    ]
    assert (text["total"], text["balance"]) == ("₹712.50", "₹612.50")
    assert text["payments"] == [{"name": "Paid", "note": "upi-1", "amount": "−₹100"}]
    assert text["badge"] == {"kind": "partly_paid", "text": "Partly paid"}


@pytest.mark.parametrize(
    ("changes", "today", "kind", "balance"),
    [
        ({"status": "issued", "paid_minor": 0}, TODAY, "issued", "₹712.50"),
        ({"status": "issued", "paid_minor": 0}, date(2026, 12, 5), "issued", "₹712.50"),
        ({"status": "issued", "paid_minor": 0}, date(2026, 12, 6), "overdue", "₹712.50"),
        ({"status": "paid", "paid_minor": 71_250}, date(2027, 1, 1), "paid", "₹0"),
        ({"status": "void", "credit_note": "CN-2026-000007"}, date(2027, 1, 1), "void", "₹0"),
    ],
)
def test_the_page_shows_how_the_invoice_stands(changes: dict, today: date, kind: str, balance: str) -> None:
    text = invoice_text({**row(), **changes}, PROJECTS["order-form"], today=today)
    assert (text["badge"]["kind"], text["balance"]) == (kind, balance)
    assert ("CN-2026-000007" in text["note"]) is (kind == "void")


def test_without_tax_and_discount_the_total_stands_alone() -> None:
    assert invoice_text({**row(), "discount_minor": 0, "taxes": []}, None, today=TODAY)["sums"] == []


def test_a_page_is_in_the_projects_language() -> None:
    text = invoice_text({**row(), "currency": "RUB"}, RUSSIAN, today=TODAY)
    assert (text["labels"]["invoice"], text["issued_on"][:14]) == ("Счёт", "21 ноября 2026")
    assert text["total"].replace("\xa0", " ") == "712,50 ₽"
    assert LABELS["en"].keys() == LABELS["ru"].keys()


def test_what_was_written_by_others_is_text_and_never_markup() -> None:
    lines = [{**line, "name": HOSTILE, "sku": HOSTILE, "unit": HOSTILE} for line in row()["lines"]]
    discounts = [{**each, "name": HOSTILE} for each in row()["discounts"]]
    payments = [{**each, "reference": HOSTILE} for each in row()["payments"]]
    hostile = {**row(), "lines": lines, "discounts": discounts, "payments": payments, "client_id": HOSTILE}
    pytest.importorskip("typst", reason="the extra pdf is not installed")
    assert render(invoice_text(hostile, None, today=TODAY)).startswith(b"%PDF-")


@pytest.mark.parametrize("place", ["name", "sku", "unit", "reference", "client_id"])
def test_a_long_word_does_not_run_over_the_next_column(place: str) -> None:
    word = "W" * 200
    lines = [{**line, place: word} if place in line else line for line in row()["lines"]]
    payments = [{**each, place: word} if place in each else each for each in row()["payments"]]
    changed = {**row(), "lines": lines, "payments": payments} | ({place: word} if place == "client_id" else {})
    (written,) = re.findall(
        "[W\u200b]{200,}", str(invoice_text(changed, None, today=TODAY)).replace("\\u200b", "\u200b")
    )
    assert written.replace("\u200b", "") == word
    assert max(map(len, written.split("\u200b"))) <= 8


def test_numbers_and_uuids_are_printed_as_they_are() -> None:
    for text in ("INV-2026-000001", "123e4567-e89b-12d3-a456-426614174000", "+919900000001", "four plain short words"):
        assert breakable(text) == text


@pytest.mark.parametrize("sign", ["₹", "₽", "€", "₸", "Ж", "ё", "−", "×"])
def test_every_sign_has_a_glyph(sign: str) -> None:
    """A sign that no font has is drawn as the same empty box as one that cannot exist."""
    text = invoice_text(row(), None, today=TODAY)
    missing = picture({**text, "client": "\U0010fffd"})
    assert picture({**text, "client": "\U0010fffc"}) == missing
    assert picture({**text, "client": sign}) != missing


def test_many_lines_go_on_further_pages() -> None:
    pytest.importorskip("typst", reason="the extra pdf is not installed")
    long = {**row(), "lines": row()["lines"] * 200}
    assert render(invoice_text(long, None, today=TODAY)).startswith(b"%PDF-")


def test_without_typst_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "typst", None)
    with pytest.raises(ConfigurationError, match="extra pdf"):
        render({})


@pytest.mark.postgres
async def test_the_pdf_is_served_by_id_and_by_number(postgres_url: str) -> None:
    pytest.importorskip("typst", reason="the extra pdf is not installed")
    async with api_on(postgres_url) as api:
        for name in (INVOICE, "INV-2026-000001"):
            answer = await api.get(f"/whatsapp/invoices/{name}.pdf", project="order-form")
            assert (answer.status_code, answer.headers["content-type"]) == (200, "application/pdf")
            assert answer.content.startswith(b"%PDF-")
            assert 'filename="INV-2026-000001.pdf"' in answer.headers["content-disposition"]
        read = (await api.get(f"/whatsapp/invoices/{INVOICE}")).json()
        assert read["pdf"] == f"/whatsapp/invoices/{INVOICE}.pdf"


@pytest.mark.postgres
async def test_without_typst_the_api_answers_501(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "typst", None)
    async with api_on(postgres_url) as api:
        answer = await api.get(f"/whatsapp/invoices/{INVOICE}.pdf")
        assert (answer.status_code, answer.headers["content-type"]) == (501, "application/problem+json")
        assert "extra pdf" in answer.json()["detail"]
