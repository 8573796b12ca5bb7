-- What a reader of history asks. Parameters are psycopg's.

-- name: read
-- A stretch of history. A bound or a filter that is null does not bound. A stretch and not a LIMIT: so every plan is a good
-- one, with and without statistics.
SELECT position, recorded_at, topic, partition, source_offset, id::text, stream, version, type, data::text,
       metadata::text, occurred_at
FROM ledger.events
WHERE position > %(after)s AND position <= %(until_position)s
      AND (%(since_time)s::timestamptz IS NULL OR recorded_at >= %(since_time)s)
      AND (%(until_time)s::timestamptz IS NULL OR recorded_at <= %(until_time)s)
      AND (%(types)s::text[] IS NULL OR type LIKE ANY(%(types)s))
      AND (%(project)s::text IS NULL OR split_part(metadata ->> 'conversation', '/', 1) = %(project)s)
ORDER BY position

-- name: read_stream
-- A stream is small, so all of it is read at once: by the index on streams, never by a walk through history. The sums keep
-- the planner off the index on positions, which it would take for a good start where it knows nothing of the table yet.
SELECT position, recorded_at, topic, partition, source_offset, id::text, stream, version, type, data::text,
       metadata::text, occurred_at
FROM ledger.events
WHERE stream = %(stream)s AND position + 0 > %(after)s AND position + 0 <= %(until_position)s
      AND (%(since_time)s::timestamptz IS NULL OR recorded_at >= %(since_time)s)
      AND (%(until_time)s::timestamptz IS NULL OR recorded_at <= %(until_time)s)
      AND (%(types)s::text[] IS NULL OR type LIKE ANY(%(types)s))
      AND (%(project)s::text IS NULL OR split_part(metadata ->> 'conversation', '/', 1) = %(project)s)
ORDER BY position + 0

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
      AND (%(since_time)s::timestamptz IS NULL OR recorded_at >= %(since_time)s)
      AND (%(until_time)s::timestamptz IS NULL OR recorded_at <= %(until_time)s)
      AND (%(types)s::text[] IS NULL OR type LIKE ANY(%(types)s))
      AND (%(project)s::text IS NULL OR split_part(metadata ->> 'conversation', '/', 1) = %(project)s)

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
