"""Live stock and prices over a catalogue: what counts is what was known at the message's time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatledger.events.inventory import InventoryUpdated
from chatledger.inventory import IN_FORCE_AFTER, REMEMBERED, LiveProjects, with_inventory
from chatledger.projects import ChannelSettings, Crm, Product, Project, Store

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
CEMENT = Product(sku="CEM-50", name="Cement", unit="bag", price_minor=5_000, stock=100)
ROD = Product(sku="ROD-12", name="Steel rod 12mm", unit="piece", price_minor=55_000)
PROJECT = Project(
    name="store",
    flow="store",
    languages=("en",),
    region="IN",
    channels={"twilio": ChannelSettings()},
    texts={"en": {}},
    words={"en": {}},
    store=Store(currency="INR", catalogue=(CEMENT, ROD), tax_bp=1_800),
    crm=Crm(kind="zoho"),
)


def update(
    price: int | None = 5_200, stock: int | None = 7, *, minutes: float = 0, sku: str = "CEM-50"
) -> InventoryUpdated:
    return InventoryUpdated(sku=sku, price_minor=price, stock=stock, fetched_at=NOON + timedelta(minutes=minutes))


def cement(project: Project) -> tuple[int, int | None]:
    assert project.store is not None
    return project.store.catalogue[0].price_minor, project.store.catalogue[0].stock


def test_what_is_told_is_laid_over_the_file_and_the_rest_is_the_files() -> None:
    live = with_inventory(PROJECT, {"CEM-50": update(), "TILE": update(sku="TILE")})
    assert live.store is not None
    assert PROJECT.store is not None
    assert live.store.catalogue == (replace(CEMENT, price_minor=5_200, stock=7), ROD)
    assert replace(live, store=PROJECT.store) == PROJECT
    assert with_inventory(PROJECT, {}) is PROJECT
    assert with_inventory(replace(PROJECT, store=None), {"CEM-50": update()}).store is None


@pytest.mark.parametrize(
    ("price", "stock", "counts"),
    [
        (None, 7, (5_000, 7)),
        (5_200, None, (5_200, 100)),
        (None, None, (5_000, 100)),
        (0, 0, (0, 0)),
        (-1, -1, (5_000, 0)),
        (10**18, 7, (5_000, 7)),
    ],
)
def test_what_is_not_told_or_of_no_use_is_the_files(
    price: int | None, stock: int | None, counts: tuple[int, int]
) -> None:
    assert cement(with_inventory(PROJECT, {"CEM-50": update(price, stock)})) == counts


def test_an_update_is_in_force_some_seconds_after_it_was_fetched() -> None:
    live = LiveProjects({"store": PROJECT})
    live.take("store", update(5_200, minutes=0))
    live.take("store", update(5_300, minutes=10))
    first, second = NOON + IN_FORCE_AFTER, NOON + timedelta(minutes=10) + IN_FORCE_AFTER
    moment = timedelta(microseconds=1)
    prices = [cement(live.at(time)["store"])[0] for time in (first - moment, first, second - moment, second)]
    assert prices == [5_000, 5_200, 5_200, 5_300]


def test_other_projects_stay_as_they_are() -> None:
    plain = replace(PROJECT, name="plain", crm=None)
    projects = {"store": PROJECT, "plain": plain}
    live = LiveProjects(projects)
    assert live.at(NOON) is projects
    live.take("plain", update())
    live.take("nobody", update())
    assert live.products == 0
    live.take("store", update())
    assert live.at(NOON + timedelta(days=1))["plain"] is plain


updates = st.lists(
    st.builds(
        update,
        price=st.integers(1, 9),
        stock=st.integers(0, 9),
        minutes=st.integers(0, 50),
        sku=st.sampled_from(["CEM-50", "ROD-12"]),
    ),
    max_size=12,
    unique_by=lambda each: (each.sku, each.fetched_at),
)


@given(updates, st.randoms(), st.lists(st.integers(-5, 120), max_size=5))
def test_the_order_in_which_updates_are_read_does_not_matter(
    told: list[InventoryUpdated], random: Random, minutes: list[int]
) -> None:
    shuffled = [*told, *told[:3]]
    random.shuffle(shuffled)
    one, other = LiveProjects({"store": PROJECT}), LiveProjects({"store": PROJECT})
    for each in told:
        one.take("store", each)
    for number, each in enumerate(shuffled):
        other.take("store", each)
        other.at(NOON + timedelta(minutes=number))  # looking in between changes nothing
    for each_minute in minutes:
        time = NOON + timedelta(minutes=each_minute)
        in_force = {
            each.sku: each
            for each in sorted(told, key=lambda x: x.fetched_at)
            if each.fetched_at + IN_FORCE_AFTER <= time
        }
        assert one.at(time)["store"] == other.at(time)["store"] == with_inventory(PROJECT, in_force)


def test_what_was_followed_long_ago_is_forgotten() -> None:
    live = LiveProjects({"store": PROJECT})
    for minute in range(1_000):
        live.take("store", update(minute + 1, minutes=minute))
    # Those of the last hour, the one that was in force when it began, and the newest, which is not yet.
    assert len(live._updates()) <= REMEMBERED / timedelta(minutes=1) + 2
    assert cement(live.at(NOON + timedelta(minutes=1_001))["store"])[0] == 1_000
    assert cement(live.at(NOON + timedelta(minutes=960))["store"])[0] == 960
