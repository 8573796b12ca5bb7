"""What the flow `store` says and understands: the variables that each text may use, and the commands' names."""

from __future__ import annotations

from collections.abc import Mapping

_NONE: frozenset[str] = frozenset()
_NUMBER = frozenset({"number"})
_NAME = frozenset({"name"})
_TEXT = frozenset({"text"})
_LINES = frozenset({"lines"})
_AMOUNT = frozenset({"amount"})
_EXAMPLE = frozenset({"example"})
_PRODUCT = frozenset({"name", "unit", "price"})
_LINE = frozenset({"item", "quantity", "price", "amount"})
_PAYMENT = frozenset({"number", "paid", "total", "balance"})

ORDER_STATUSES = ("placed", "draft", "confirmed", "processing", "shipped", "delivered", "cancelled")
"""An order's statuses, as the text `status_<status>` calls them: `placed` is before billing has it."""

TEXTS: Mapping[str, frozenset[str]] = {
    "welcome": _EXAMPLE,
    "help": _EXAMPLE,
    "products": _LINES,
    "product_line": _PRODUCT,
    "more_line": frozenset({"count"}),
    "summary": frozenset({"lines", "total"}),
    "cart_line": _LINE,
    "subtotal_line": _AMOUNT,
    "discount_line": frozenset({"names", "amount"}),
    "tax_line": frozenset({"rate", "amount"}),
    "tax_included_line": frozenset({"rate", "amount"}),
    "total_line": _AMOUNT,
    "refused_unknown": _TEXT,
    "refused_out_of_stock": frozenset({"text", "name"}),
    "refused_not_enough": frozenset({"text", "name", "in_stock"}),
    "refused_quantity": frozenset({"text", "max"}),
    "refused_quantity_of": frozenset({"text", "max", "name", "unit"}),
    "refused_cart_full": frozenset({"text", "max"}),
    "ask_choice": frozenset({"text", "lines"}),
    "choice_line": _PRODUCT | {"number"},
    "choice_dropped": _NONE,
    "rejected_choice": frozenset({"count"}),
    "rejected_products": _EXAMPLE,
    "rejected_confirmation": _NONE,
    "rejected_no_text": _NONE,
    "cart_kept": _NONE,
    "cart_empty": _EXAMPLE,
    "cart_cancelled": _NONE,
    "item_removed": _NAME,
    "not_in_cart": _TEXT,
    "remove_which": _TEXT,
    "code_applied": _NAME,
    "code_unknown": _TEXT,
    "placed_already": _NUMBER,
    "status": _LINES,
    "status_line": frozenset({"number", "status"}),
    "status_none": _NONE,
    **{f"status_{status}": _NONE for status in ORDER_STATUSES},
    "cancel_which": _NUMBER,
    "cancel_unknown": _TEXT,
    "cancel_too_late": frozenset({"number", "status"}),
    "cancel_asked": _NUMBER,
    "repeat_none": _NONE,
    "invoice_none": _NONE,
    "opted_out": _NONE,
    "opted_in": _NONE,
    "restarted": _NONE,
    "thanked": _NONE,
    "handoff": _NONE,
    "throttled": _NONE,
    "order_confirmed": _NUMBER,
    "order_processing": _NUMBER,
    "order_shipped": _NUMBER,
    "order_delivered": _NUMBER,
    "order_cancelled": _NUMBER,
    "invoice": frozenset({"number", "order", "issued", "lines"}),
    "invoice_line": _LINE,
    "due_line": frozenset({"date"}),
    "paid_line": _AMOUNT,
    "balance_line": _AMOUNT,
    "void_line": _NONE,
    "payment_received": _PAYMENT,
    "payment_complete": _PAYMENT,
    "payment_refunded": _PAYMENT,
    "invoice_voided": _NUMBER,
}
"""Each text's key, and what may stand in it as `{variable}`."""

WORDS = (
    "yes", "no", "none", "greeting", "help", "products", "cart", "remove", "code", "cancel", "status", "invoice",
    "repeat", "stop", "start", "restart", "thanks", "pieces", "fillers",
)  # fmt: skip
"""What clients can say; `pieces` are words for a count of anything, `fillers` say nothing about what is wanted."""
