-- What is asked of the past. Parameters are psycopg's; a bound that is null does not bound. Everything is found by the
-- index on streams, whatever the size of history, with and without statistics. Two things keep the planner from walking
-- positions instead: `position + 0` is no use of their index, and what is sorted by them is gathered first (MATERIALIZED).

-- name: read_streams
SELECT position, recorded_at, topic, partition, source_offset, id::text, stream, version, type, data::text,
       metadata::text, occurred_at
FROM ledger.events
WHERE stream = ANY(%(streams)s)
      AND (%(until_position)s::bigint IS NULL OR position + 0 <= %(until_position)s)
      AND (%(until_time)s::timestamptz IS NULL OR recorded_at <= %(until_time)s)
      AND (%(project)s::text IS NULL OR split_part(metadata ->> 'conversation', '/', 1) = %(project)s)
ORDER BY position

-- name: first_of_streams
-- Where some streams begin.
WITH of_streams AS MATERIALIZED (
    SELECT position, recorded_at
    FROM ledger.events
    WHERE stream = ANY(%(streams)s)
          AND (%(project)s::text IS NULL OR split_part(metadata ->> 'conversation', '/', 1) = %(project)s)
)
SELECT position, recorded_at FROM of_streams ORDER BY position LIMIT 1

-- name: page_of_stream
-- Some events of one stream, from a position on.
WITH of_stream AS MATERIALIZED (
    SELECT position
    FROM ledger.events
    WHERE stream = %(stream)s AND position + 0 > %(after)s
          AND (%(project)s::text IS NULL OR split_part(metadata ->> 'conversation', '/', 1) = %(project)s)
)
SELECT position, recorded_at, topic, partition, source_offset, id::text, stream, version, type, data::text,
       metadata::text, occurred_at
FROM ledger.events
WHERE position IN (SELECT position FROM of_stream ORDER BY position LIMIT %(limit)s)
ORDER BY position

-- name: page_of_conversations
-- Conversations by id, those after one of them, each with where it begins and ends: one probe for each, and its events.
WITH RECURSIVE each_stream (stream, number) AS (
    (SELECT stream, 1 FROM ledger.events WHERE stream > %(after)s ORDER BY stream LIMIT 1)
    UNION ALL
    SELECT (SELECT stream FROM ledger.events WHERE stream > each_stream.stream ORDER BY stream LIMIT 1), number + 1
    FROM each_stream
    WHERE starts_with(each_stream.stream, %(prefix)s) AND number < %(limit)s
)
SELECT substr(each_stream.stream, length('conversation-') + 1), whole.events, whole.first_recorded_at,
       whole.last_recorded_at, whole.last_position
FROM each_stream
CROSS JOIN LATERAL (
    SELECT count(*) AS events, min(recorded_at) AS first_recorded_at, max(recorded_at) AS last_recorded_at,
           max(position) AS last_position
    FROM ledger.events
    WHERE events.stream = each_stream.stream
) AS whole
WHERE starts_with(each_stream.stream, %(prefix)s)
ORDER BY number

-- name: channels
-- Every project and channel that has a conversation: `project/channel`. One probe each leads beyond all of its clients,
-- because '0' follows '/' in the order of characters; that it also comes after what was found keeps the walk going on in
-- a collation in which it does not.
WITH RECURSIVE each_stream (stream) AS (
    (SELECT stream FROM ledger.events WHERE stream > 'conversation-' ORDER BY stream LIMIT 1)
    UNION ALL
    SELECT (
        SELECT stream
        FROM ledger.events
        WHERE stream > each_stream.stream
              AND stream >= coalesce(substring(each_stream.stream FROM '^(conversation-[^/]*/[^/]*)/') || '0', '')
        ORDER BY stream
        LIMIT 1
    )
    FROM each_stream
    WHERE starts_with(each_stream.stream, 'conversation-')
)
SELECT DISTINCT substring(stream FROM '^conversation-([^/]*/[^/]*)/')
FROM each_stream
WHERE stream ~ '^conversation-[^/]*/[^/]*/'

-- name: streams_from
-- The streams that begin like this, in their order.
WITH RECURSIVE each_stream (stream, number) AS (
    (SELECT stream, 1 FROM ledger.events WHERE stream >= %(prefix)s ORDER BY stream LIMIT 1)
    UNION ALL
    SELECT (SELECT stream FROM ledger.events WHERE stream > each_stream.stream ORDER BY stream LIMIT 1), number + 1
    FROM each_stream
    WHERE starts_with(each_stream.stream, %(prefix)s) AND number < %(limit)s
)
SELECT stream FROM each_stream WHERE starts_with(stream, %(prefix)s) ORDER BY number

-- name: what_they_are
-- Some events by their ids: what, and where in history.
SELECT id::text, type, position FROM ledger.events WHERE id = ANY(%(ids)s::uuid[])

-- name: last_position
SELECT coalesce(max(position), 0) FROM ledger.events
