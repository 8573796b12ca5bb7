"""Project files of a store: decimal texts and percent become minor units and basis points, and mistakes are named."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatledger.errors import ConfigurationError
from chatledger.flows import FLOWS
from chatledger.flows.notices import REMINDER_TEXTS
from chatledger.project_files import default_project, load_projects, parse_project
from chatledger.projects import DiscountRule, Outreach, Product
from tests.unit.projects_at_hand import (
    DOCUMENT,
    FOLDER,
    STORE,
    STORE_DOCUMENT,
    document,
    product,
    store,
    store_document,
    store_variant,
)

OUTREACH = STORE_DOCUMENT["outreach"]
CEMENT = product("CEM-50")


def catalogue(**changes: Any) -> dict[str, Any]:
    return {"store": store(catalogue=[product("SAND-R"), product("CEM-50", **changes)])}


def discount(**rule: Any) -> dict[str, Any]:
    return {"store": store(discounts=[{"name": "Sale"} | rule])}


def test_the_shipped_store_loads() -> None:
    assert STORE.store is not None
    assert STORE.store.catalogue[0] == Product(
        sku="CEM-50",
        name="Cement",
        unit="bag",
        price_minor=5_000,
        aliases=("OPC cement", "cement 50 kg", "grey cement"),
        stock=50_000,
        tax_bp=2_800,
    )
    assert (STORE.store.currency, STORE.store.tax_bp, STORE.store.tax_inclusive) == ("INR", 1_800, True)
    assert DiscountRule(name="First order", code="WELCOME100", amount_minor=10_000) in STORE.store.discounts
    assert isinstance(STORE.outreach, Outreach)
    assert (STORE.payment_days, STORE.session) == (14, timedelta(hours=24))
    assert any(each.stock == 0 for each in STORE.store.catalogue)
    projects = load_projects(FOLDER)
    assert default_project(projects, "twilio") == default_project(projects, "meta") == STORE


@pytest.mark.parametrize(
    ("price", "minor"), [("50.00", 5_000), ("50", 5_000), (50, 5_000), (50.5, 5_050), ("0", 0), ("0.01", 1)]
)
def test_a_price_is_a_decimal_text_of_the_stores_currency(price: object, minor: int) -> None:
    project = store_variant(**catalogue(price=price))
    assert project.store is not None
    assert project.store.catalogue[1].price_minor == minor


def test_how_many_decimals_a_price_has_is_the_currencys() -> None:
    one = [product("CEM-50", price="1.505")]
    project = store_variant(store=store(currency="KWD", catalogue=one, discounts=None))
    assert project.store is not None
    assert project.store.catalogue[0].price_minor == 1_505
    with pytest.raises(ConfigurationError, match=r"store\.catalogue\.0\.price: 1\.505 has more decimals than JPY"):
        store_variant(store=store(currency="JPY", catalogue=one, discounts=None))


@given(st.integers(0, 100_000))
def test_percent_becomes_basis_points(points: int) -> None:
    for written in (f"{points / 100:.2f}", points / 100):
        project = store_variant(store=store(tax_percent=written))
        assert project.store is not None
        assert project.store.tax_bp == points


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"store": None}, "store: is missing; the flow store needs it"),
    ({"store": "cement"}, "store: "),
    ({"offer": DOCUMENT["offer"]}, "offer: the flow store has no use for it; take it out"),
    ({"crm": {"kind": "other"}}, "crm.kind: "),
    ({"store": store(currency=None)}, "store.currency: write an ISO 4217 code"),
    ({"store": store(currency="rupees")}, "store.currency: currency: 'rupees' is not an ISO 4217 code"),
    ({"store": store(catalogue=None)}, "store.catalogue: "),
    ({"store": store(catalogue=[])}, "store.catalogue: "),
    ({"store": store(catalogue={"cement": "50.00"})}, "store.catalogue: "),
    ({"store": store(catalogue=["cement"])}, "store.catalogue.0: "),
    ({"store": store(colour="grey")}, "store.colour: "),
    ({"store": store(tax_bp=1_800)}, "store.tax_bp: is no field of a project file; write 18 as tax_percent"),
    ({"store": store(tax_percent=-1)}, "store.tax_percent: -1 is no percentage"),
    ({"store": store(tax_percent="0.123")}, "store.tax_percent: '0.123' is no percentage"),
    ({"store": store(tax_percent="a lot")}, "store.tax_percent: 'a lot' is no percentage"),
    ({"store": store(tax_percent="NaN")}, "store.tax_percent: 'NaN' is no percentage"),
    ({"store": store(tax_percent="1e99")}, "store.tax_percent: '1e99' is no percentage"),
    ({"store": store(tax_percent=True)}, "store.tax_percent: True is no percentage"),
    ({"store": store(match_threshold=30)}, "store.match_threshold: "),
    ({"store": store(abandoned_after_minutes=0)}, "store.abandoned_after_minutes: "),
    (catalogue(price=None), "store.catalogue.1.price: is missing"),
    (catalogue(price="cheap"), "store.catalogue.1.price: 'cheap' is not a decimal"),
    (catalogue(price="1.005"), "store.catalogue.1.price: 1.005 has more decimals than INR"),
    (catalogue(price="-1"), "store.catalogue.1.price: -1 is negative"),
    (catalogue(price={"amount": "50.00"}), "store.catalogue.1.price: "),
    (catalogue(price="10000000001"), "store.catalogue.1.price: 10000000001 is negative or beyond reason"),
    (
        {"store": store(quantity_max=1_000_000, catalogue=[product("CEM-50", price="999999999")])},
        "store.catalogue.0.price: too much for quantity_max 1000000 and cart_lines_max 50",
    ),
    (catalogue(price_minor=5_000), "store.catalogue.1.price_minor: is no field of a project file"),
    (catalogue(sku=None), "store.catalogue.1.sku: "),
    (catalogue(sku=50), "store.catalogue.1.sku: "),
    (catalogue(sku="sand-r"), "store.catalogue.1.sku: 'sand-r' is another product's too"),
    (catalogue(name=None), "store.catalogue.1.name: "),
    (catalogue(name=""), "store.catalogue.1.name: "),
    (catalogue(stock=-1), "store.catalogue.1.stock: "),
    (catalogue(stock="many"), "store.catalogue.1.stock: "),
    (catalogue(aliases="grey cement"), "store.catalogue.1.aliases: "),
    (catalogue(colour="grey"), "store.catalogue.1.colour: "),
    (discount(), "store.discounts.0: write either percent or amount"),
    (discount(percent=5, amount="5.00"), "store.discounts.0: write either percent or amount"),
    (discount(percent=0), "store.discounts.0.percent_bp: "),
    (discount(percent=101), "store.discounts.0.percent_bp: "),
    (discount(amount="0"), "store.discounts.0.amount_minor: "),
    (discount(amount="-5"), "store.discounts.0.amount: -5 is negative"),
    (discount(amount_minor=500), "store.discounts.0.amount_minor: is no field of a project file"),
    (discount(percent=5, code="two words"), "store.discounts.0.code: 'two words' is not one word"),
    (discount(percent=5, code=""), "store.discounts.0.code: '' is not one word"),
    (
        {"store": store(discounts=[{"name": name, "percent": 5, "code": name} for name in ("SALE", "sale")])},
        "store.discounts.1.code: 'sale' is another discount's too",
    ),
    ({"outreach": OUTREACH | {"time_zone": "India"}}, "outreach.time_zone: 'India' is no time zone"),
    ({"outreach": OUTREACH | {"time_zone": ""}}, "outreach.time_zone: '' is no time zone"),
    ({"outreach": OUTREACH | {"time_zone": "Asia"}}, "outreach.time_zone: 'Asia' is no time zone"),
    ({"outreach": OUTREACH | {"time_zone": "../etc/passwd"}}, "outreach.time_zone: '../etc/passwd' is no time zone"),
    ({"outreach": OUTREACH | {"quiet_from": 24}}, "outreach.quiet_from: "),
    ({"outreach": OUTREACH | {"loud": True}}, "outreach.loud: "),
    ({"texts": {"en": {"summary": "{address}"}}}, "texts.en.summary: unknown variable {address}"),
]


@pytest.mark.parametrize(("changes", "complaint"), WRONG, ids=[complaint for _, complaint in WRONG])
def test_a_wrong_field_is_named_with_its_file(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_project(store_document(**changes), where="mine.yaml")
    assert str(raised.value).startswith(f"mine.yaml: {complaint}")


def test_an_order_form_has_no_store_and_no_crm() -> None:
    for section, complaint in (
        ({"store": STORE_DOCUMENT["store"]}, "store: the flow order_form has no use for it"),
        ({"crm": {"kind": "zoho"}}, "crm: needs the section store"),
        ({"offer": None}, "offer: is missing; the flow order_form needs it"),
    ):
        with pytest.raises(ConfigurationError) as raised:
            parse_project(document(**section), where="mine.yaml")
        assert str(raised.value).startswith(f"mine.yaml: {complaint}")


def test_every_text_and_word_of_the_flow_is_shipped_and_said_by_the_flow() -> None:
    assert STORE.texts["en"].keys() == FLOWS["store"].texts.keys() | REMINDER_TEXTS.keys()
    assert STORE.words["en"].keys() == set(FLOWS["store"].words)
