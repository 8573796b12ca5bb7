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
    """One project's use of one channel. `default` takes the bare path `/webhook/<channel>`."""

    default: bool = False
    webhook_token_env: str = "CHAT2DESK_WEBHOOK_TOKEN"
    api_token_env: str = "CHAT2DESK_API_TOKEN"
    hmac: HmacScheme | None = None


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
class Project:
    """One tenant. `texts` and `words` map a language to what is said and what is understood in it."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    flow: str
    languages: Annotated[tuple[str, ...], Field(min_length=1)]
    region: Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
    channels: Annotated[dict[str, ChannelSettings], Field(min_length=1)]
    offer: Offer
    texts: Mapping[str, Mapping[str, str]]
    words: Mapping[str, Mapping[str, tuple[str, ...]]]
    limits: Limits = Limits()
    session_hours: Annotated[int, Field(ge=1, le=24 * 365)] = 24
    wrong_answers_max: Annotated[int, Field(ge=1, le=100)] = 5

    @property
    def session(self) -> timedelta:
        """How long a silent conversation is kept."""
        return timedelta(hours=self.session_hours)

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
