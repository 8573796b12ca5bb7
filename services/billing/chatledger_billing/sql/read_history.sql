-- The events of one aggregate, oldest first.
SELECT originator_version AS version, topic AS type, convert_from(state, 'UTF8')::jsonb ->> 'time' AS time
FROM billing.aggregate_events
WHERE originator_id = %s
ORDER BY originator_version
