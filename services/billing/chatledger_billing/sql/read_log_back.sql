-- A piece of the notification log, the newest first, before a place in it; a register's own events are not published.
SELECT notification_id, originator_id, originator_version, state
FROM billing.aggregate_events
WHERE (%(before)s::bigint IS NULL OR notification_id < %(before)s) AND topic <> %(unpublished)s
ORDER BY notification_id DESC
LIMIT %(limit)s
