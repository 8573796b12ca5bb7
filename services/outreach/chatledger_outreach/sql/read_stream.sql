-- The events of one stream, oldest first.
SELECT id, source, key, stream, version, type, schema_version, time, correlation_id, causation_id, traceparent, data
FROM outreach.events
WHERE stream = %s AND version IS NOT NULL
ORDER BY version
