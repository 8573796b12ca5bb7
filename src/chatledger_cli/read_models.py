"""What `chatledger rebuild` can make anew: each service names its own read models, here they are together."""

from __future__ import annotations

from collections.abc import Sequence

from chatledger.adapters.rebuilding.declared import Rebuildable
from chatledger.errors import ConfigurationError
from chatledger_billing.rebuild import REBUILDABLES as BILLING
from chatledger_crm.rebuild import REBUILDABLES as CRM
from chatledger_notify.rebuild import REBUILDABLES as NOTIFY
from chatledger_outreach.rebuild import REBUILDABLES as OUTREACH

READ_MODELS: tuple[Rebuildable, ...] = (*BILLING, *OUTREACH, *NOTIFY, *CRM)
ALL = "all"
DIALOG = "dialog"
"""The dialog's table is no read model in Postgres, and is made anew in a way of its own."""


def chosen(names: Sequence[str]) -> tuple[Rebuildable, ...]:
    """Return the read models that `names` mean: a read model, one of its tables, a service, or all.

    Raises ConfigurationError for a name that means nothing.
    """
    for name in names:
        if not any(_means(name, each) for each in READ_MODELS):
            known = ", ".join(each.name for each in READ_MODELS)
            raise ConfigurationError(f"there is no read model {name!r}: name some of {known}, a service, or {ALL}")
    return tuple(each for each in READ_MODELS if any(_means(name, each) for name in names))


def _means(name: str, model: Rebuildable) -> bool:
    return name in (ALL, model.schema, *model.table_names)
