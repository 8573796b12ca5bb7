-- When clients were to be told that there is stock again, by the streams of the reminders that do it.
SELECT stream, occurred_at FROM ledger.events WHERE stream = ANY(%s) AND version = 1
