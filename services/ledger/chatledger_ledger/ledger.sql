-- What the recorder and the reader ask. Parameters are psycopg's.

-- name: lock
-- One writer at a time until the end of the transaction: so positions rise in commit order, and who reads on from a
-- position never misses one that is committed later.
SELECT pg_advisory_xact_lock(hashtext('ledger.events'))

-- name: copy
-- The unit separator cannot stand in JSON, and no field is empty.
COPY ledger.events (id, stream, version, type, data, metadata, occurred_at, topic, partition, source_offset)
FROM STDIN (DELIMITER E'\x1f', NULL '')

-- name: ids_recorded
SELECT id::text FROM ledger.events WHERE id = ANY(%(ids)s::uuid[])

-- name: versions_recorded
SELECT stream, version
FROM unnest(%(streams)s::text[], %(versions)s::bigint[]) AS wanted (stream, version)
JOIN ledger.events USING (stream, version)

-- name: read
-- A stretch of history. A bound of time that is null does not bound. A stretch and not a LIMIT: so every plan is a good
-- one, with and without statistics.
SELECT position, recorded_at, topic, partition, source_offset, id::text, stream, version, type, data::text,
       metadata::text, occurred_at
FROM ledger.events
WHERE position > %(after)s AND position <= %(until_position)s
      AND (%(until_time)s::timestamptz IS NULL OR recorded_at <= %(until_time)s)
ORDER BY position

-- name: read_stream
-- A stream is small, so all of it is read at once: by the index on streams, never by a walk through history.
SELECT position, recorded_at, topic, partition, source_offset, id::text, stream, version, type, data::text,
       metadata::text, occurred_at
FROM ledger.events
WHERE stream = %(stream)s AND position > %(after)s AND position <= %(until_position)s
      AND (%(until_time)s::timestamptz IS NULL OR recorded_at <= %(until_time)s)
ORDER BY position

-- name: newest
-- The newest events of one type, newest first.
SELECT position, recorded_at, topic, partition, source_offset, id::text, stream, version, type, data::text,
       metadata::text, occurred_at
FROM ledger.events
WHERE type = %(type)s
ORDER BY position DESC
LIMIT %(limit)s

-- name: find
SELECT position, recorded_at, topic, partition, source_offset, id::text, stream, version, type, data::text,
       metadata::text, occurred_at
FROM ledger.events
WHERE id = %(id)s::uuid

-- name: last_position
SELECT coalesce(max(position), 0) FROM ledger.events

-- name: count
SELECT count(*)
FROM ledger.events
WHERE position > %(after)s AND position <= %(until_position)s
      AND (%(until_time)s::timestamptz IS NULL OR recorded_at <= %(until_time)s)

-- name: conversations
-- Every conversation id, from the index, one probe each.
WITH RECURSIVE each_stream (stream) AS (
    (SELECT stream FROM ledger.events WHERE stream >= 'conversation-' ORDER BY stream LIMIT 1)
    UNION ALL
    SELECT (SELECT stream FROM ledger.events WHERE stream > each_stream.stream ORDER BY stream LIMIT 1)
    FROM each_stream
    WHERE each_stream.stream IS NOT NULL AND each_stream.stream LIKE 'conversation-%%'
)
SELECT substr(stream, length('conversation-') + 1)
FROM each_stream
WHERE stream LIKE 'conversation-%%'
LIMIT %(limit)s
