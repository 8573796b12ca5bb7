-- A copy of history in a table of somebody's own. {table} and {positions} are put in as quoted names.

-- name: make_positions
CREATE TABLE IF NOT EXISTS {positions} (
    table_name text PRIMARY KEY,
    selection jsonb NOT NULL,
    position bigint NOT NULL,
    last_id text,
    events bigint NOT NULL,
    moved_at timestamptz NOT NULL DEFAULT now()
)

-- name: is_there
SELECT to_regclass(%(table)s) IS NOT NULL

-- name: make_table
-- The columns of ledger.events. Values are as they were recorded: data at the schema version in metadata.
CREATE TABLE {table} (
    position bigint NOT NULL,
    id uuid PRIMARY KEY,
    stream text NOT NULL,
    version int,
    type text NOT NULL,
    data jsonb NOT NULL,
    metadata jsonb NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    topic text NOT NULL,
    partition int NOT NULL,
    source_offset bigint NOT NULL
)

-- name: index_positions
CREATE INDEX ON {table} (position)

-- name: full_name
SELECT format('%%I.%%I', nspname, relname)
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE pg_class.oid = to_regclass(%(table)s)

-- name: progress
SELECT selection, position, last_id, events FROM {positions} WHERE table_name = %(name)s

-- name: begin
-- A row that is there already is of a table that was dropped since.
INSERT INTO {positions} (table_name, selection, position, events) VALUES (%(name)s, %(selection)s, %(position)s, 0)
ON CONFLICT (table_name) DO UPDATE
SET selection = excluded.selection, position = excluded.position, last_id = NULL, events = 0, moved_at = now()

-- name: stage
CREATE TEMPORARY TABLE IF NOT EXISTS chatledger_replayed (LIKE {table}) ON COMMIT DELETE ROWS

-- name: copy
COPY chatledger_replayed (id, stream, version, type, data, metadata, occurred_at, topic, partition, source_offset, position, recorded_at)
FROM STDIN (DELIMITER E'\x1f', NULL '')

-- name: upsert
INSERT INTO {table} (position, id, stream, version, type, data, metadata, occurred_at, recorded_at, topic, partition, source_offset)
SELECT position, id, stream, version, type, data, metadata, occurred_at, recorded_at, topic, partition, source_offset
FROM chatledger_replayed
ON CONFLICT (id) DO UPDATE SET (position, stream, version, type, data, metadata, occurred_at, recorded_at, topic, partition, source_offset)
    = (excluded.position, excluded.stream, excluded.version, excluded.type, excluded.data, excluded.metadata,
       excluded.occurred_at, excluded.recorded_at, excluded.topic, excluded.partition, excluded.source_offset)

-- name: move
-- From where it was, and only from there: a second replay beside this one finds another position.
UPDATE {positions} SET position = %(position)s, last_id = %(last_id)s, events = %(events)s, moved_at = now()
WHERE table_name = %(name)s AND position = %(from_position)s AND events = %(from_events)s
