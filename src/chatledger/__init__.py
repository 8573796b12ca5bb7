"""chatledger: chat webhooks become events, conversations, orders, invoices and one replayable ledger.

This package is what all services share. `events` is the vocabulary, `conversation` the fold, `flows`
the decisions, `channels` the providers' languages, `ports` what the outside must offer, `adapters`
who offers it. ARCHITECTURE.md has the reading order.
"""

__version__ = "0.1.0"
