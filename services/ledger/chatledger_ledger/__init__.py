"""The ledger: records every event in Postgres, in the order in which it was committed."""
