"""The demo's customers get what the demo promises of them: the replies to each message, and their orders."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chatledger.channels import CHANNELS
from chatledger.channels.base import InboundSecrets, Received, WebhookRequest
from chatledger.conversation import Conversation, initial
from chatledger.errors import ConfigurationError, NotAuthentic
from chatledger.events.dialog import AnswerRejected, OrderPlaced, ReplyRequested
from chatledger.events.envelope import Envelope, conversation_id, from_outside
from chatledger.events.ids import derive_id
from chatledger.events.inbound import InvoiceReported, MessageReceived, WebhookNoted
from chatledger.events.orders import InvoiceDocument
from chatledger.flows.pipeline import handle
from chatledger.pricing import amounts
from chatledger.project_files import load_projects
from chatledger.projects import Crm
from chatledger_cli.demo import cast_of, environment_of, scenes
from chatledger_cli.demo_order_form import OrderFormScene
from chatledger_cli.demo_run import Replies
from chatledger_cli.demo_scene import Customer, Posted, Scene
from chatledger_cli.demo_store import StoreScene
from chatledger_cli.provider_stand_in import ReceivedMessage

FOLDER = Path(__file__).resolve().parents[2] / "projects"
PROJECTS = load_projects(FOLDER)
BASE_URL = "http://127.0.0.1:8000"
RUN = 1_763_700_000_000
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
CAST = cast_of(scenes(PROJECTS, FOLDER), 90, RUN, 0)
EVERYBODY = [(scene, customer) for scene, customers in CAST.items() for customer in customers]
ORDER_FORM, STORE = CAST
CHANNEL_OF = {ORDER_FORM: OrderFormScene.CHANNEL, STORE: StoreScene.CHANNEL}


def written(scene: Scene, customer: Customer, step: int) -> Posted:
    return scene.webhook(customer, step, BASE_URL)


def parsed(scene: Scene, posted: Posted) -> tuple[str, Received]:
    """The event's id, and the event of a webhook; its signature, where the channel has any, is checked too."""
    channel = CHANNELS[CHANNEL_OF[scene]]
    variables = scene.environment("http://127.0.0.1:1")
    names = channel.variables_for(scene.project.channels[channel.name])
    request = WebhookRequest(headers=posted.headers, query={}, body=posted.body, url=BASE_URL + posted.path)
    secrets = InboundSecrets(tokens=(variables[names.webhook_token],))
    channel.verify(request, scene.project.channels[channel.name], secrets)
    [received] = channel.parse(request)
    return derive_id(scene.project.name, channel.name, *received.dedupe_key), received


def invoice_of(order: OrderPlaced) -> InvoiceDocument:
    """What billing makes of an order, as far as a conversation is told."""
    sums = amounts(order.lines, order.discounts, tax_inclusive=order.tax_inclusive)
    return InvoiceDocument(
        invoice_id="1",
        number="INV-2026-000001",
        order_id=order.order_id,
        order_number=order.order_number,
        status="issued",
        lines=order.lines,
        currency=order.currency or "",
        tax_inclusive=order.tax_inclusive,
        subtotal_minor=sums.subtotal_minor,
        discounts=order.discounts,
        discount_minor=sums.discount_minor,
        taxes=sums.taxes,
        tax_minor=sums.tax_minor,
        total_minor=sums.total_minor,
        paid_minor=0,
        issued_on=NOON.date(),
        due_on=NOON.date(),
    )


class Dialog:
    """Folds one customer's conversation; a store's order gets its invoice at once."""

    def __init__(self, scene: Scene, customer: Customer) -> None:
        self.conversation = conversation_id(scene.project.name, CHANNEL_OF[scene], customer.client_id)
        self.state: Conversation = initial()
        self.kinds = Counter[type]()

    def replies(self, event_id: str, event: object, at: datetime, *, invoiced: bool) -> list[str]:
        cause = from_outside(event, id=event_id, source="/test", conversation=self.conversation, time=at)  # type: ignore[arg-type]  # any event will do
        self.state, envelopes = handle(self.state, cause, PROJECTS)
        self.kinds.update(type(envelope.data) for envelope in envelopes)
        said = [each.data.text for each in envelopes if isinstance(each.data, ReplyRequested)]
        for order in orders_in(envelopes) if invoiced else ():
            report = InvoiceReported(because="invoice.issued", invoice=invoice_of(order))
            said += self.replies(derive_id(event_id, "report"), report, at, invoiced=False)
        return said


def orders_in(envelopes: list[Envelope]) -> list[OrderPlaced]:
    return [envelope.data for envelope in envelopes if isinstance(envelope.data, OrderPlaced)]


@pytest.mark.parametrize(
    ("scene", "customer"),
    EVERYBODY,
    ids=[f"{scene.project.name}-{customer.number}" for scene, customer in EVERYBODY],
)
def test_each_message_gets_its_replies_and_the_orders_come(scene: Scene, customer: Customer) -> None:
    dialog = Dialog(scene, customer)
    for number, step in enumerate(customer.steps):
        event_id, received = parsed(scene, written(scene, customer, number))
        assert isinstance(received.event, MessageReceived)
        assert received.client_id == customer.client_id
        at = NOON + timedelta(seconds=number)
        said = dialog.replies(event_id, received.event, at, invoiced=scene is STORE)
        assert len(said) == len(step.replies), (step.text, said)
        assert all(wanted in text for wanted, text in zip(step.replies, said, strict=True)), (step, said)
    assert dialog.kinds[OrderPlaced] == customer.orders
    assert len(customer.steps) <= 12  # stays below every limit of the project


def test_about_every_third_customer_writes_to_the_store() -> None:
    shares = {clients: cast_of(list(CAST), clients, RUN, 0) for clients in (1, 4, 20)}
    counts = {clients: [len(customers) for customers in cast.values()] for clients, cast in shares.items()}
    assert counts == {1: [1, 0], 4: [3, 1], 20: [14, 6]}


def test_there_are_wrong_answers_a_cancel_and_duplicates_among_few() -> None:
    few = CAST[ORDER_FORM][:4]
    assert [customer.orders for customer in few] == [1, 1, 1, 0]
    assert any(customer.is_sent_twice(step) for customer in few for step in range(len(customer.steps)))
    assert [step.text for customer in few for step in customer.steps if step.text == "call me"]
    assert AnswerRejected.type == "answer.rejected"


def test_about_five_percent_are_sent_twice() -> None:
    steps = [(customer, step) for _, customer in EVERYBODY for step in range(len(customer.steps))]
    share = sum(customer.is_sent_twice(step) for customer, step in steps) / len(steps)
    assert 0.03 <= share <= 0.08


def test_no_two_webhooks_share_an_id_even_in_another_run() -> None:
    again = [(scene, each) for scene in CAST for each in scene.customers(30, RUN + 1, 1_000)]
    ids = [
        parsed(scene, written(scene, customer, step))[0]
        for scene, customer in (*EVERYBODY, *again)
        for step in range(len(customer.steps))
    ]
    assert len(set(ids)) == len(ids)
    clients = [customer.client_id for _, customer in (*EVERYBODY, *again)]
    assert len(set(clients)) == len(clients)


def test_an_echo_is_noted_and_not_a_message() -> None:
    customer = CAST[ORDER_FORM][0]
    echo = ORDER_FORM.echo(customer, 0, "What is the delivery address?")
    assert echo is not None
    event_id, received = parsed(ORDER_FORM, echo)
    assert isinstance(received.event, WebhookNoted)
    assert event_id != parsed(ORDER_FORM, written(ORDER_FORM, customer, 0))[0]
    assert ORDER_FORM.echo(customer, 1, "What is your phone number?") is None


def test_some_phones_report_in_the_wrong_order() -> None:
    replies = Replies()
    orders = {
        replies.take(reply(customer.client_id, "http://127.0.0.1:8000/webhook/twilio/store?delivery=1")).callbacks
        for customer in CAST[STORE]
    }
    assert orders == {("delivered", "read"), ("read", "delivered")}
    assert replies.reports_due == 2 * len(CAST[STORE])
    assert replies.take(reply("77", "")).callbacks == ()


def reply(client_id: str, callback_url: str) -> ReceivedMessage:
    return ReceivedMessage(
        client_id=client_id,
        text="hi",
        idempotency_key=client_id,
        authorization="",
        arrived_at=0.0,
        callback_url=callback_url,
    )


def test_what_the_store_gets_is_signed_with_this_runs_token() -> None:
    posted = written(STORE, CAST[STORE][0], 0)
    with pytest.raises(NotAuthentic):
        parsed(STORE, replace(posted, body=posted.body + b"0"))


def test_it_shows_what_there_is() -> None:
    one, other = ({name: PROJECTS[name]} for name in ("order-form", "store"))
    assert [type(scene) for scene in scenes(one, FOLDER)] == [OrderFormScene]
    assert [type(scene) for scene in scenes(other, FOLDER)] == [StoreScene]
    assert [len(customers) for customers in cast_of(scenes(other, FOLDER), 7, RUN, 0).values()] == [7]
    with pytest.raises(ConfigurationError, match="the demo's customers write to"):
        scenes({}, FOLDER)


def test_it_reaches_no_real_provider_and_no_real_crm() -> None:
    store = replace(PROJECTS["store"], crm=Crm(kind="zoho"))
    ours = {"PATH": "/bin", "TWILIO_AUTH_TOKEN": "real", "META_ACCESS_TOKEN": "real", "ZOHO_REFRESH_TOKEN": "real"}
    ours["PUBLIC_BASE_URL"] = "https://shop.example"
    environment = environment_of(list(CAST), PROJECTS | {"store": store}, ours, "http://127.0.0.1:9")
    assert (environment["PATH"], environment["TWILIO_AUTH_TOKEN"] == "real") == ("/bin", False)
    assert {environment[channel.api_url_env] for channel in CHANNELS.values()} == {"http://127.0.0.1:9"}
    assert not {"PUBLIC_BASE_URL", "ZOHO_REFRESH_TOKEN"} & environment.keys()


def test_a_store_that_sells_other_things_is_not_shown() -> None:
    store = PROJECTS["store"]
    assert store.store is not None
    other = replace(store, store=replace(store.store, catalogue=store.store.catalogue[5:]))
    with pytest.raises(ConfigurationError, match="the example's products"):
        scenes({"store": other}, FOLDER)
