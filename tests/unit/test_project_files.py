"""Project files: what ships loads, and each mistake is answered with the file, the field and the mend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chatledger.errors import ConfigurationError
from chatledger.events.money import Money
from chatledger.project_files import default_project, load_projects, parse_project
from tests.unit.projects_at_hand import DOCUMENT, EXAMPLE, FOLDER, document, offer, variant

CHANNELS = DOCUMENT["channels"]["chat2desk"]


def test_the_shipped_example_loads() -> None:
    projects = load_projects(FOLDER)
    assert "order-form" in projects
    assert EXAMPLE.offer is not None
    assert EXAMPLE.offer.price == Money(minor=25_000, currency="INR")
    assert EXAMPLE.languages == ("en", "ru")
    assert default_project(projects, "chat2desk") == projects["order-form"]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": None}, "name: "),
    ({"name": "Order Form"}, "name: "),
    ({"name": "a/b"}, "name: "),
    ({"name": ""}, "name: "),
    ({"flow": None}, "flow: choose one of order_form"),
    ({"flow": "booking"}, "flow: choose one of order_form"),
    ({"flow": ["order_form"]}, "flow: choose one of order_form"),
    ({"languages": None}, "languages: "),
    ({"languages": []}, "languages: "),
    ({"languages": "en"}, "languages: "),
    ({"languages": 5}, "languages: "),
    ({"languages": [["en"]]}, "languages: "),
    ({"languages": [True]}, "languages: "),
    ({"languages": ["en", "de"]}, "texts.de.greeting: is missing"),
    ({"region": None}, "region: "),
    ({"region": "india"}, "region: "),
    ({"region": "UK"}, "region: UK is no ISO 3166 country code"),
    ({"session_hours": 0}, "session_hours: "),
    ({"session_hours": "a day"}, "session_hours: "),
    ({"wrong_answers_max": 0}, "wrong_answers_max: "),
    ({"channels": None}, "channels: "),
    ({"channels": []}, "channels: "),
    ({"channels": {}}, "channels: "),
    ({"channels": {"smoke": {}}}, "channels.smoke: choose one of chat2desk"),
    ({"channels": {"chat2desk": {"default": "perhaps"}}}, "channels.chat2desk.default: "),
    ({"channels": {"chat2desk": {"token": "secret"}}}, "channels.chat2desk.token: "),
    ({"channels": {"chat2desk": CHANNELS | {"hmac": {"header": "X"}}}}, "channels.chat2desk.hmac.secret_env: "),
    (
        {"channels": {"chat2desk": CHANNELS | {"hmac": {"header": "X", "secret_env": "S", "algorithm": "md5"}}}},
        "channels.chat2desk.hmac.algorithm: ",
    ),
    ({"limits": {"messages_per_minute_and_client": 0}}, "limits.messages_per_minute_and_client: "),
    ({"limits": {"messages": 5}}, "limits.messages: "),
    ({"offer": None}, "offer: "),
    ({"offer": "water"}, "offer: "),
    ({"offer": offer(item=None)}, "offer.item: "),
    ({"offer": offer(item={})}, "offer.item: "),
    ({"offer": offer(item="water")}, "offer.item: "),
    ({"offer": offer(quantity_max=0)}, "offer.quantity_max: "),
    ({"offer": offer(payment_days=-1)}, "offer.payment_days: "),
    ({"offer": offer(colour="blue")}, "offer.colour: "),
    ({"offer": offer(price=250)}, "offer.price: write {amount"),
    ({"offer": offer(price={"amount": "250.00"})}, "offer.price: write {amount"),
    ({"offer": offer(price={"amount": "250", "currency": "INR", "per": "can"})}, "offer.price: write {amount"),
    ({"offer": offer(price={"amount": "250.001", "currency": "INR"})}, "offer.price: 250.001 has more decimals than"),
    ({"offer": offer(price={"amount": "2.5", "currency": "JPY"})}, "offer.price: 2.5 has more decimals than JPY"),
    ({"offer": offer(price={"amount": "a lot", "currency": "INR"})}, "offer.price: 'a lot' is not a decimal"),
    ({"offer": offer(price={"amount": None, "currency": "INR"})}, "offer.price: 'None' is not a decimal"),
    ({"offer": offer(price={"amount": "-1", "currency": "INR"})}, "offer.price: -1 is negative"),
    ({"offer": offer(price={"amount": "1e15", "currency": "INR"})}, "offer.price: "),
    ({"offer": offer(price={"amount": "1e9999999", "currency": "INR"})}, "offer.price: "),
    ({"offer": offer(price={"amount": "250", "currency": "rupees"})}, "offer.price: currency: 'rupees'"),
    ({"texts": []}, "texts: write a mapping"),
    ({"texts": {"en": "hello"}}, "texts.en: write a mapping"),
    ({"texts": {"de": {"greeting": "Hallo"}}}, "texts.de: is not one of the project's languages"),
    ({"texts": {"en": {"hello": "Hello"}}}, "texts.en.hello: the flow order_form has no such text"),
    ({"texts": {"en": {"greeting": 5}}}, "texts.en.greeting: "),
    ({"texts": {"en": {"greeting": "Hi {name}"}}}, "texts.en.greeting: unknown variable {name}; it may use item"),
    ({"texts": {"ru": {"help": "{item}"}}}, "texts.ru.help: unknown variable {item}; it may use none"),
    ({"words": "yes"}, "words: write a mapping"),
    ({"words": {"en": {"yes": []}}}, "words.en.yes: is missing"),
    ({"words": {"en": {"yes": "yes"}}}, "words.en.yes: "),
    ({"words": {"en": {"yes": [1]}}}, "words.en.yes.0: "),
    ({"words": {"en": {"perhaps": ["maybe"]}}}, "words.en.perhaps: the flow order_form has no such word"),
    ({"colour": "blue"}, "colour: "),
]


@pytest.mark.parametrize(("changes", "complaint"), WRONG, ids=[complaint for _, complaint in WRONG])
def test_a_wrong_field_is_named_with_its_file(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_project(document(**changes), where="mine.yaml")
    assert str(raised.value).startswith(f"mine.yaml: {complaint}")


@pytest.mark.parametrize("text", ["", "- a", "just text", "a: [", "a: b: c", "\tname: x", "&a [*a]", "name: \x00"])
def test_what_is_no_project_document_is_refused_with_its_file(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^mine\.yaml: "):
        parse_project(text, where="mine.yaml")


def test_yes_and_no_need_no_quotes() -> None:
    text = document() + "words:\n  en:\n    yes: [yes, on, Si]\n    no: [no, off]\n"
    project = parse_project(text, where="mine.yaml")
    assert project.words["en"]["yes"] == ("yes", "on", "si")
    assert project.means("SI!", "yes")
    assert project.means("off", "no")


def test_norwegian_is_a_language_and_not_a_false() -> None:
    with pytest.raises(ConfigurationError, match=r"texts\.no\.greeting: is missing"):
        parse_project(document(languages=None) + "languages: [en, no]\n", where="mine.yaml")


def test_true_and_false_are_still_read() -> None:
    assert parse_project(document(), where="mine.yaml").channels["chat2desk"].default is True


@pytest.mark.parametrize("amount", [250, 250.0, 250.5, "250.50", "0"])
def test_an_amount_may_be_written_with_or_without_quotes(amount: object) -> None:
    offered = variant(offer=offer(price={"amount": amount, "currency": "INR"})).offer
    assert offered is not None
    assert offered.price == Money(minor=int(float(str(amount)) * 100), currency="INR")


def test_a_missing_or_empty_folder_is_named_with_the_setting(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ConfigurationError, match=r"no project files .*CHATLEDGER_PROJECTS"):
            load_projects(folder)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(ConfigurationError, match=r"^broken\.yaml: cannot be read"):
        load_projects(tmp_path)
    (tmp_path / "broken.yaml").unlink()
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(ConfigurationError, match=r"^folder\.yaml: cannot be read"):
        load_projects(tmp_path)


def test_two_projects_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(document(), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"^b\.yaml: name: 'order-form' is used"):
        load_projects(tmp_path)


def test_two_defaults_of_one_channel_are_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(document(name=name), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"channels\.chat2desk\.default is true in one, two"):
        load_projects(tmp_path)


def test_the_bare_path_is_the_default_projects_or_the_only_ones() -> None:
    modest: Any = {"chat2desk": {"default": False}}
    one, two, other = variant(name="one", channels=modest), variant(name="two", channels=modest), variant(name="other")
    assert default_project({"one": one}, "chat2desk") == one
    assert default_project({"one": one, "two": two}, "chat2desk") is None
    assert default_project({"one": one, "other": other}, "chat2desk") == other
    assert default_project({"one": one}, "twilio") is None
