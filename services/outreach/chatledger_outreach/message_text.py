"""A campaign's message: a Jinja2 template about one client, checked when it is written and then safe to fill in.

A template may show variables, pass them through a few filters, and choose by `if`. Nothing that repeats, computes or
calls is taken, so that work and text are bounded by the template's own length, and what can be written for one client
can be written for every other: `Message.text` never fails. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, Undefined, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from chatledger.errors import ChatledgerError

TEMPLATE_LENGTH_MAX = 4_000
TEXT_LENGTH_MAX = 1_600
"""In characters: what every channel takes as one message."""
NAME_LENGTH_MAX = 80
"""Clients call themselves whatever they like, and providers hand it on."""
DEPTH_MAX = 30
"""How deep conditions and expressions may stand in each other."""

VARIABLES = ("name", "client", "language", "orders", "last_order")
FILTER_ARGUMENTS_MAX = {"default": 2, "d": 2, "upper": 0, "lower": 0, "title": 0, "capitalize": 0, "trim": 0}
TESTS = ("defined", "undefined")

_PLAIN_NODES = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.If,
    nodes.CondExpr,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Concat,
    nodes.Operand,
)
_WORDS: dict[type[nodes.Node], str] = {
    nodes.For: "`for`",
    nodes.Assign: "`set`",
    nodes.AssignBlock: "`set`",
    nodes.Macro: "`macro`",
    nodes.CallBlock: "`call`",
    nodes.FilterBlock: "`filter` around text",
    nodes.Call: "calls",
    nodes.Getattr: "attributes",
    nodes.Getitem: "indexes",
    nodes.List: "lists, but right of `in`",
    nodes.Tuple: "lists, but right of `in`",
}
"""How its author knows what a template may not have."""


class MessageRefused(ChatledgerError):
    """The message is not a template that can be sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addressee:
    """What a message may say of the client whom it goes to. None: not known."""

    client: str
    name: str | None = None
    language: str | None = None
    orders: int = 0
    last_order_at: datetime | None = None


NOBODY = Addressee(client="+10000000000")
"""A client of whom nothing is known."""
EXAMPLE = Addressee(
    client="+919876543210",
    name="N" * NAME_LENGTH_MAX,
    language="en",
    orders=1_000,
    last_order_at=datetime.fromisoformat("2026-01-31T00:00:00+00:00"),
)
"""A client of whom all is known, with the longest name."""


class Message:
    """A template that was checked. Raises MessageRefused, with what is wrong, for one that may not be used."""

    def __init__(self, template: str) -> None:
        self._compiled = _compiled(template)

    def text(self, addressee: Addressee) -> str:
        """Write the message to one client: at most TEXT_LENGTH_MAX characters, perhaps none. Never fails."""
        return self.whole_text(addressee)[:TEXT_LENGTH_MAX]

    def whole_text(self, addressee: Addressee) -> str:
        """The same, however long it is."""
        last_order = addressee.last_order_at
        known = {
            "name": " ".join((addressee.name or "").split())[:NAME_LENGTH_MAX],
            "client": addressee.client,
            "language": addressee.language,
            "orders": addressee.orders,
            "last_order": last_order.date().isoformat() if last_order else None,
        }
        # What is not known is undefined to the template: shown as nothing, and replaced by the filter `default`.
        values = {name: Undefined(name=name) if value in (None, "") else value for name, value in known.items()}
        return self._compiled.render(values).strip()


def check_message(template: str) -> Message:
    """Return the message, once it was written to two clients as an example.

    Raises MessageRefused where the template is wrong, the text too long, or empty for a client who is not known.
    """
    message = Message(template)
    length = len(message.whole_text(EXAMPLE))
    if length > TEXT_LENGTH_MAX:
        raise MessageRefused(f"the text has {length} characters for a long name; {TEXT_LENGTH_MAX} are the most")
    if not message.text(NOBODY):
        raise MessageRefused("nothing is left for a client of whom nothing is known: add a text, or `default('...')`")
    return message


@lru_cache(maxsize=64)
def _compiled(template: str) -> Template:
    """Parse, check and only then compile: the compiler already computes what is constant, such as 'x' * 10 ** 9."""
    if len(template) > TEMPLATE_LENGTH_MAX:
        raise MessageRefused(f"a template has at most {TEMPLATE_LENGTH_MAX} characters")
    _check_characters(template)
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    try:
        tree = environment.parse(template)
        for node, depth, above in _nodes(tree):
            if depth > DEPTH_MAX:
                raise MessageRefused("conditions or expressions stand too deep in each other")
            _check(node, above)
        code = environment.compile(tree)
    except TemplateError as wrong:
        raise MessageRefused(f"the template is not readable: {wrong.message}") from wrong
    except (RecursionError, ValueError) as wrong:
        raise MessageRefused("the template is not readable: it is too intricate") from wrong
    return Template.from_code(environment, code, environment.globals)


def _nodes(tree: nodes.Node) -> Iterator[tuple[nodes.Node, int, nodes.Node | None]]:
    """Every node with its depth and the one above it; not recursive, as a tree may be deeper than the stack."""
    waiting: list[tuple[nodes.Node, int, nodes.Node | None]] = [(tree, 0, None)]
    while waiting:
        node, depth, above = waiting.pop()
        yield node, depth, above
        waiting.extend((each, depth + 1, node) for each in node.iter_child_nodes())


def _check(node: nodes.Node, above: nodes.Node | None) -> None:
    """Raise MessageRefused for anything whose result or cost is not known to be harmless."""
    match node:
        case nodes.Name():
            _require(node.name in VARIABLES, f"there is no variable {node.name!r}: use {', '.join(VARIABLES)}")
        case nodes.Const():
            if isinstance(node.value, str):
                _check_characters(node.value)
        case nodes.Filter():
            allowed = FILTER_ARGUMENTS_MAX.get(node.name)
            _require(allowed is not None, f"there is no filter {node.name!r}: use {', '.join(FILTER_ARGUMENTS_MAX)}")
            _require(node.node is not None, "a filter stands behind a variable, not around text")
            _require(len(node.args) <= (allowed or 0), f"the filter {node.name!r} takes {allowed} arguments at most")
            _require(_is_plain_call(node), f"the filter {node.name!r} takes its arguments by place alone")
        case nodes.Test():
            _require(node.name in TESTS, f"there is no test {node.name!r}: use {', '.join(TESTS)}")
            _require(not node.args and _is_plain_call(node), f"the test {node.name!r} takes no arguments")
        case nodes.Compare():
            _check_comparison(node)
        case nodes.List() | nodes.Tuple() if isinstance(above, nodes.Operand):
            _require(all(isinstance(each, nodes.Const) for each in node.items), "a list is made of fixed values")
        case _:
            word = _WORDS.get(type(node), f"`{type(node).__name__.lower()}`")
            _require(isinstance(node, _PLAIN_NODES), f"a message has no {word}: use variables, filters and `if`")


def _check_comparison(node: nodes.Compare) -> None:
    _require(len(node.ops) == 1, "compare two values at a time, joined by `and`")
    [operand] = node.ops
    right = operand.expr
    if operand.op in ("in", "notin"):
        _require(isinstance(right, nodes.List | nodes.Tuple), "right of `in` stands a list, such as ['en', 'hi']")
    elif operand.op not in ("eq", "ne"):
        # Only numbers have an order with every number; another pair might fail for some client.
        sides = (node.expr, right)
        ordered = all(_is_number(each) for each in sides)
        _require(ordered, "only `orders` and numbers are compared by < and >")
    else:
        _require(not isinstance(right, nodes.List | nodes.Tuple), "a value is compared with a value; lists need `in`")


def _is_number(node: nodes.Node) -> bool:
    if isinstance(node, nodes.Const):
        return isinstance(node.value, int | float)
    return isinstance(node, nodes.Name) and node.name == "orders"


def _is_plain_call(node: Any) -> bool:
    return not (node.kwargs or node.dyn_args or node.dyn_kwargs)


def _check_characters(text: str) -> None:
    """Refuse what cannot be stored or sent: NUL, and halves of surrogate pairs, which no encoding has."""
    storable = "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
    _require(storable, "it has a character that cannot be sent")


def _require(holds: bool, wrong: str) -> None:
    if not holds:
        raise MessageRefused(wrong)
