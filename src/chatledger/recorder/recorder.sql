-- What the recorders of the library `eventsourcing` ask. Parameters are psycopg's.

-- name: lock
-- The lock of every writer of the ledger, held until the end of the transaction: positions rise in commit order.
SELECT pg_advisory_xact_lock(hashtext('ledger.events'))

-- name: insert
INSERT INTO ledger.events (id, stream, version, type, data, metadata, occurred_at, topic, partition, source_offset)
SELECT id, stream, version, type, data, metadata, coalesce(occurred_at, statement_timestamp()), %(topic)s, 0, 0
FROM unnest(%(ids)s::uuid[], %(streams)s::text[], %(versions)s::int[], %(types)s::text[], %(data)s::jsonb[],
            %(metadata)s::jsonb[], %(occurred_at)s::timestamptz[])
     WITH ORDINALITY AS new (id, stream, version, type, data, metadata, occurred_at, place)
ORDER BY place
RETURNING position AS notification_id

-- name: stream
-- A stream's decided events; what came from outside has no version, and no place here.
SELECT position, id::text, stream, version, type, data::text, metadata::text, occurred_at, recorded_at, topic,
       partition, source_offset
FROM ledger.events
WHERE stream = %(stream)s AND version > %(gt)s AND version <= %(lte)s
ORDER BY version
LIMIT %(limit)s

-- name: stream_backwards
SELECT position, id::text, stream, version, type, data::text, metadata::text, occurred_at, recorded_at, topic,
       partition, source_offset
FROM ledger.events
WHERE stream = %(stream)s AND version > %(gt)s AND version <= %(lte)s
ORDER BY version DESC
LIMIT %(limit)s

-- name: notifications
SELECT position, id::text, stream, version, type, data::text, metadata::text, occurred_at, recorded_at, topic,
       partition, source_offset
FROM ledger.events
WHERE position >= %(start)s AND position <= %(stop)s AND (%(topics)s::text[] IS NULL OR type = ANY(%(topics)s))
ORDER BY position
LIMIT %(limit)s

-- name: last
SELECT max(position) FROM ledger.events
