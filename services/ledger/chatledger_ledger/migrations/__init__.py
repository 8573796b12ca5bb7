"""The ledger's schema, one numbered file per step; what was released is never edited."""
