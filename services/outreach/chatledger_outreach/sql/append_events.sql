-- Append events, in order; one whose id is there, or whose place in its stream is taken, is left out.
INSERT INTO outreach.events
    (id, topic, source, key, stream, version, type, schema_version, time, correlation_id, causation_id, traceparent,
     data)
SELECT id, topic, source, key, stream, version, type, schema_version, time, correlation_id, causation_id, traceparent,
       data
FROM unnest(
    %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::text[], %s::int[], %s::timestamptz[],
    %s::text[], %s::text[], %s::text[], %s::text[]
) WITH ORDINALITY AS new
    (id, topic, source, key, stream, version, type, schema_version, time, correlation_id, causation_id, traceparent,
     data, place)
ORDER BY place
ON CONFLICT DO NOTHING
RETURNING id
