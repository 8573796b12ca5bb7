"""The topics: their names, who writes them, and how they are made on a real broker."""

from __future__ import annotations

from dataclasses import dataclass

INBOUND = "chat.inbound"
DIALOG = "chat.dialog"
BILLING = "chat.billing"
NOTIFY = "chat.notify"
OUTREACH = "chat.outreach"
INVENTORY = "chat.inventory"
DEAD = "chat.dead"

ALL = (INBOUND, DIALOG, BILLING, NOTIFY, OUTREACH, INVENTORY, DEAD)
"""Every topic that carries events, and so everything that the ledger records."""

DIALOG_GROUP = "chatledger-dialog"
"""The dialog's consumer group and Faust app id."""
TABLE_VERSIONS = f"{DIALOG_GROUP}-table-versions"
"""Which version of the dialog's table is live, in partition 0, compacted."""

PARTITIONS = 4
"""Partitions of every topic. One conversation is one partition on all of them, so they must agree; 4 is also
what the embedded broker makes."""


def table_name(version: int) -> str:
    """Return the name of the dialog's table; each rebuild makes another version, from 1 on."""
    return "conversations" if version == 1 else f"conversations-{version}"


def changelog(version: int) -> str:
    """Return the topic of a version of the dialog's table, compacted: the last state of each conversation.

    It is made from the other topics, so it is not recorded.
    """
    return f"{DIALOG_GROUP}-{table_name(version)}-changelog"


CHANGELOG = changelog(1)
"""That of the first version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicPlan:
    """How a topic is made. Retention is the broker's own default: the ledger is what keeps everything."""

    name: str
    partitions: int = PARTITIONS
    compacted: bool = False


PLANS: tuple[TopicPlan, ...] = (
    *(TopicPlan(name=name) for name in ALL),
    TopicPlan(name=CHANGELOG, compacted=True),
    TopicPlan(name=TABLE_VERSIONS, compacted=True),
)
