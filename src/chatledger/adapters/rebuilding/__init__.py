"""Read models made anew from the ledger beside the live ones, and put in their place in one transaction.

`declared` is how a service names what can be rebuilt, `live_standing` tells how far the live one has come, `filling`
folds history into `shadow_tables`, and `rebuild` does it all in order.
"""
