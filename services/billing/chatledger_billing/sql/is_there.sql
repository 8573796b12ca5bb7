-- Whether the event store's tables were made.
SELECT to_regclass('billing.aggregate_tracking') IS NOT NULL
