-- name: beginnings
-- What the ledger has of some streams before some versions, oldest first.
SELECT position, recorded_at, topic, partition, source_offset, id::text, kept.stream, kept.version, type, data::text,
       metadata::text, occurred_at
FROM unnest(%(streams)s::text[], %(versions)s::bigint[]) AS wanted (stream, version)
JOIN ledger.events AS kept ON kept.stream = wanted.stream AND kept.version < wanted.version
ORDER BY kept.stream, kept.version
