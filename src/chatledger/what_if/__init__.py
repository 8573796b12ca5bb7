"""What if: recorded history, decided once more by other flows or with other project files, and what would differ.

It is pure: what goes in are events of the ledger, what comes out are values. Inputs, timers, stock and prices come from
the record; nothing is called again, and nothing can be sent.
"""

from chatledger.what_if.changes import Change, FieldChange, Kind, changes
from chatledger.what_if.comparing import Compared, Comparison, DecisionFailed, Evidence, Failure, LeftOut
from chatledger.what_if.document import Document, report
from chatledger.what_if.tally import FAILED, Tally

__all__ = [
    "FAILED",
    "Change",
    "Compared",
    "Comparison",
    "DecisionFailed",
    "Document",
    "Evidence",
    "Failure",
    "FieldChange",
    "Kind",
    "LeftOut",
    "Tally",
    "changes",
    "report",
]
