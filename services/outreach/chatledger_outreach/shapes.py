"""The shape of what the HTTP API takes and shows: names in camelCase, as users of the older bot know them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Shape(BaseModel):
    """A body or an answer. A field that is not known is refused: a misspelt one would be left out silently."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", validate_by_name=True, validate_by_alias=True)
