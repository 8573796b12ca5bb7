-- Set positions in a new life of the broker; one that is further on stays.
INSERT INTO billing.aggregate_tracking AS known (application_name, notification_id)
SELECT name, next_offset FROM unnest(%s::text[], %s::bigint[]) AS new (name, next_offset)
ON CONFLICT (application_name) DO UPDATE
SET notification_id = greatest(known.notification_id, excluded.notification_id)
