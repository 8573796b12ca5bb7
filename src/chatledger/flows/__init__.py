"""The flows: what to do about a message, one file each. To add one: a file, and its line in FLOWS."""

from chatledger.flows import order_form, store
from chatledger.flows.base import Flow

FLOWS: dict[str, Flow] = {
    "order_form": order_form.FLOW,
    "store": store.FLOW,
}
"""Every flow by the name that a project file gives."""

__all__ = ["FLOWS", "Flow"]
