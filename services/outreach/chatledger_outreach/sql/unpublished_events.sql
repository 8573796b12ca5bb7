-- The oldest events that the broker may not have, in the order of positions.
SELECT id, source, key, stream, version, type, schema_version, time, correlation_id, causation_id, traceparent, data,
       position, topic
FROM outreach.events
WHERE published_at IS NULL
ORDER BY position
LIMIT %s
