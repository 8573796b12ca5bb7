-- What the recorder asks. Parameters are psycopg's.

-- name: lock
-- One writer at a time until the end of the transaction: so positions rise in commit order, and who reads on from a
-- position never misses one that is committed later.
SELECT pg_advisory_xact_lock(hashtext('ledger.events'))

-- name: copy
-- The unit separator cannot stand in JSON, and no field is empty. Text, not binary: rows of text go into the table every
-- 64 kB while the next ones are on their way, binary ones only at the end, or after a thousand.
COPY ledger.events (id, stream, version, type, data, metadata, occurred_at, topic, partition, source_offset)
FROM STDIN (DELIMITER E'\x1f', NULL '')

-- name: ids_recorded
SELECT id::text FROM ledger.events WHERE id = ANY(%(ids)s::uuid[])

-- name: versions_recorded
SELECT stream, version
FROM unnest(%(streams)s::text[], %(versions)s::bigint[]) AS wanted (stream, version)
JOIN ledger.events USING (stream, version)
