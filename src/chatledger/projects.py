"""A project: one business on one platform. Its channels, flow, limits, offer and texts, as checked values.

`project_files` reads them from YAML. Nothing here holds a secret: a channel names the environment variables that do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, with_config

from chatledger.events.money import Money

NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"
"""A project's name is part of every key and path."""

_VARIABLE = re.compile(r"\{(\w+)\}")
_STRICT = ConfigDict(extra="forbid")


@with_config(_STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class HmacScheme:
    """How a provider signs a body: which header, which digest, how it is written, and what stands before it."""

    header: str
    algorithm: Literal["sha1", "sha256", "sha512"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""
    secret_env: str


@with_config(_STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """One project's use of one channel. `default` takes the bare path `/webhook/<channel>`.

    A name of an environment variable that is None is the channel's own (`chatledger.channels.base.Variables`).
    `templates` maps a message's purpose (`payment_due`, `campaign`, ...) to the provider's id of a template.
    """

    default: bool = False
    webhook_token_env: str | None = None
    api_token_env: str | None = None
    account_env: str | None = None
    sender_env: str | None = None
    verify_token_env: str | None = None
    hmac: HmacScheme | None = None
    templates: dict[str, str] = field(default_factory=dict)


@with_config(_STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is taken. Ingress refuses with 429 beyond the first two; the dialog throttles beyond the third."""

    webhooks_per_second: Annotated[int, Field(ge=1)] = 2_000
    webhooks_per_minute_and_client: Annotated[int, Field(ge=1)] = 300
    messages_per_minute_and_client: Annotated[int, Field(ge=1)] = 30


@with_config(_STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What the order form sells. Without a price no invoice is issued."""

    item: Annotated[dict[str, str], Field(min_length=1)]
    price: Money | None = None
    quantity_max: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    delivery_promise: dict[str, str] = field(default_factory=dict)
    payment_days: Annotated[int, Field(ge=0, le=365)] = 14


@with_config(_STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One thing of a store's catalogue. `stock` None: never out of stock; `tax_bp` None: the store's rate."""

    sku: Annotated[str, Field(min_length=1, max_length=64)]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    unit: str
    price_minor: Annotated[int, Field(ge=0)]
    aliases: tuple[str, ...] = ()
    stock: Annotated[int, Field(ge=0)] | None = None
    tax_bp: Annotated[int, Field(ge=0, le=100_000)] | None = None


@with_config(_STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class DiscountRule:
    """What may be taken off an order: for everybody, or, with a `code`, for who gives it."""

    name: str
    code: str | None = None
    percent_bp: Annotated[int, Field(gt=0, le=10_000)] | None = None
    amount_minor: Annotated[int, Field(gt=0)] | None = None


@with_config(_STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """What a store sells, and how: the section `store` of a project file. Prices are of one `currency`.

    `match_threshold` (0 to 100) is how alike a misspelt name must be to a product's; names of two products within
    `match_margin` of each other are asked about.
    """

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    catalogue: Annotated[tuple[Product, ...], Field(min_length=1)]
    tax_bp: Annotated[int, Field(ge=0, le=100_000)] = 0
    tax_inclusive: bool = True
    discounts: tuple[DiscountRule, ...] = ()
    payment_days: Annotated[int, Field(ge=0, le=365)] = 14
    match_threshold: Annotated[int, Field(ge=50, le=100)] = 82
    match_margin: Annotated[int, Field(ge=0, le=50)] = 5
    quantity_max: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    cart_lines_max: Annotated[int, Field(ge=1, le=200)] = 50
    abandoned_after_minutes: Annotated[int, Field(ge=1, le=24 * 60)] = 60


@with_config(_STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Outreach:
    """When and of what clients are reminded, and how campaigns run: the section `outreach`. None: not at all.

    Nothing is sent from `quiet_from` to `quiet_until` (hours, 0 to 23) in the client's time zone, which the phone
    number tells, or else `time_zone`. Equal hours: never quiet.
    """

    time_zone: str = "UTC"
    quiet_from: Annotated[int, Field(ge=0, le=23)] = 21
    quiet_until: Annotated[int, Field(ge=0, le=23)] = 8
    payment_due_days_before: Annotated[int, Field(ge=0, le=60)] | None = 1
    payment_due_hour: Annotated[int, Field(ge=0, le=23)] = 10
    cart_abandoned: bool = True
    follow_up_days: Annotated[int, Field(ge=0, le=365)] | None = None
    restock: bool = True
    campaign_rate_per_s: Annotated[int, Field(ge=1, le=10_000)] = 50
    campaign_batch_size: Annotated[int, Field(ge=1, le=10_000)] = 500


@with_config(_STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Crm:
    """Another system that knows stock and prices and gets the orders: the section `crm`. Variables hold its secrets."""

    kind: Literal["zoho"]
    refresh_minutes: Annotated[int, Field(ge=1, le=24 * 60)] = 15
    client_id_env: str = "ZOHO_CLIENT_ID"
    client_secret_env: str = "ZOHO_CLIENT_SECRET"
    refresh_token_env: str = "ZOHO_REFRESH_TOKEN"


@with_config(_STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """One tenant. `texts` and `words` map a language to what is said and what is understood in it."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    flow: str
    languages: Annotated[tuple[str, ...], Field(min_length=1)]
    region: Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
    channels: Annotated[dict[str, ChannelSettings], Field(min_length=1)]
    texts: Mapping[str, Mapping[str, str]]
    words: Mapping[str, Mapping[str, tuple[str, ...]]]
    offer: Offer | None = None
    store: Store | None = None
    outreach: Outreach | None = None
    crm: Crm | None = None
    limits: Limits = Limits()
    session_hours: Annotated[int, Field(ge=1, le=24 * 365)] = 24
    wrong_answers_max: Annotated[int, Field(ge=1, le=100)] = 5

    @property
    def session(self) -> timedelta:
        """How long a silent conversation is kept."""
        return timedelta(hours=self.session_hours)

    @property
    def payment_days(self) -> int:
        """How many days after its issue an invoice is due."""
        terms = self.store or self.offer
        return terms.payment_days if terms else 0

    def language(self, wanted: str | None) -> str:
        """Return `wanted` where the project speaks it, else its first language."""
        return wanted if wanted in self.languages else self.languages[0]

    def text(self, language: str | None, key: str, **variables: object) -> str:
        """Return the text `key` in `language`, with each `{variable}` filled in. Values are never read as templates."""
        template = self.texts[self.language(language)][key]
        return _VARIABLE.sub(lambda found: str(variables[found[1]]), template)

    def means(self, text: str, word: str) -> bool:
        """Whether `text`, as a whole, is one of the ways to say `word` in any language of the project."""
        said = " ".join(text.casefold().rstrip("!. \n").split())
        return any(said in self.words[language][word] for language in self.languages)


def variables_of(template: str) -> frozenset[str]:
    """Names of the `{variables}` in a text."""
    return frozenset(_VARIABLE.findall(template))
