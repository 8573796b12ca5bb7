-- What the tables of history ask beside the events themselves. Parameters are psycopg's.

-- name: ledger_is_there
SELECT to_regclass('ledger.events') IS NOT NULL

-- name: conversations_begun
-- The first event of each conversation's stream among those with a position from `after` to `until_position`: so every
-- conversation is found once, in the order in which they began.
SELECT first.stream
FROM ledger.events AS first
WHERE first.position > %(after)s AND first.position <= %(until_position)s
      AND first.version IS NOT NULL AND first.stream LIKE 'conversation-%%'
      AND (%(until_time)s::timestamptz IS NULL OR first.recorded_at <= %(until_time)s)
      AND (%(project)s::text IS NULL OR split_part(first.metadata ->> 'conversation', '/', 1) = %(project)s)
      AND NOT EXISTS (
          SELECT FROM ledger.events AS earlier
          WHERE earlier.stream = first.stream AND earlier.version < first.version
      )
ORDER BY first.position

-- name: streams
-- Everything in these streams, whole and in order. Small: a stream is one client's, or one message's.
SELECT position, recorded_at, topic, partition, source_offset, id::text, stream, version, type, data::text,
       metadata::text, occurred_at
FROM ledger.events
WHERE stream = ANY(%(streams)s) AND position <= %(until_position)s
      AND (%(until_time)s::timestamptz IS NULL OR recorded_at <= %(until_time)s)
ORDER BY position

-- name: led_to_nearby
-- What each of these messages led to first, where that was recorded soon after it.
SELECT DISTINCT ON (metadata ->> 'causationid') metadata ->> 'causationid', type, occurred_at
FROM ledger.events
WHERE position > %(after)s AND position <= %(until_position)s
      AND version IS NOT NULL AND stream LIKE 'conversation-%%' AND metadata ->> 'causationid' = ANY(%(causes)s)
      AND (%(until_time)s::timestamptz IS NULL OR recorded_at <= %(until_time)s)
ORDER BY metadata ->> 'causationid', position

-- name: led_to
-- The same for messages whose answer came late: by way of their conversations' streams.
SELECT DISTINCT ON (metadata ->> 'causationid') metadata ->> 'causationid', type, occurred_at
FROM ledger.events
WHERE stream = ANY(%(streams)s) AND position <= %(until_position)s
      AND version IS NOT NULL AND metadata ->> 'causationid' = ANY(%(causes)s)
      AND (%(until_time)s::timestamptz IS NULL OR recorded_at <= %(until_time)s)
ORDER BY metadata ->> 'causationid', position

-- name: dead_letters_of
-- The dead letters that these events became, by the service that could not process them; an index leads to them.
SELECT data -> 'headers' ->> 'ce_id', data ->> 'service', data ->> 'reason'
FROM ledger.events
WHERE type = 'record.dead_lettered' AND data -> 'headers' ->> 'ce_id' = ANY(%(ids)s)
      AND position <= %(until_position)s
      AND (%(until_time)s::timestamptz IS NULL OR recorded_at <= %(until_time)s)
ORDER BY position
