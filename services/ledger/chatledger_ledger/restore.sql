-- What a restore asks of the ledger. Parameters are psycopg's. An event whose source is the ledger itself stands for a
-- record that could not be kept, and was on no topic as an event.

-- name: last_position
SELECT coalesce(max(position), 0) FROM ledger.events

-- name: position_before
-- The last event that was recorded before a time.
SELECT coalesce(max(position), 0) FROM ledger.events WHERE recorded_at < %(time)s

-- name: lives
-- Every life of a broker that was recorded, by partition, the oldest first, and what was put back in it.
SELECT position.topic, position.partition, position.incarnation, position.next_offset, position.after_position,
       restored.first_offset, restored.after_position, restored.until_position
FROM ledger.positions AS position
LEFT JOIN ledger.restores AS restored
       ON restored.incarnation = position.incarnation AND restored.topic = position.topic
          AND restored.partition = position.partition
ORDER BY position.topic, position.partition, position.after_position, position.since

-- name: newest_below
-- The last event of a partition, within a stretch of history, that stood below an offset.
SELECT position
FROM ledger.events
WHERE topic = %(topic)s AND partition = %(partition)s AND position > %(after)s AND position <= %(until)s
      AND source_offset < %(offset)s
ORDER BY position DESC
LIMIT 1

-- name: nth
-- The event of a partition that was put back as the one after `skipped` others.
SELECT position
FROM ledger.events
WHERE topic = %(topic)s AND partition = %(partition)s AND position > %(after)s AND position <= %(until)s
      AND metadata ->> 'source' <> '/chatledger/ledger'
ORDER BY position
OFFSET %(skipped)s
LIMIT 1

-- name: last_decision
-- What the dialog's last recorded decision in a partition came of.
SELECT metadata ->> 'causationid'
FROM ledger.events
WHERE topic = %(topic)s AND partition = %(partition)s
ORDER BY position DESC
LIMIT 1

-- name: position_of
SELECT position
FROM ledger.events
WHERE id = CASE WHEN %(id)s ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN %(id)s::uuid END

-- name: inputs_after
-- What the dialog may not have decided about; what it passes over by its type is left out.
SELECT position, id::text
FROM ledger.events
WHERE topic = %(topic)s AND partition = %(partition)s AND position > %(after)s AND type <> %(passed_over)s
ORDER BY position
LIMIT %(limit)s

-- name: buried_inputs
-- Which of these inputs the dialog put aside as dead letters.
SELECT data -> 'headers' ->> 'ce_id'
FROM ledger.events
WHERE type = 'record.dead_lettered' AND data ->> 'service' = 'dialog'
      AND data -> 'headers' ->> 'ce_id' = ANY(%(ids)s)

-- name: beyond_bytes
-- Where each partition has to begin so that what follows is about so many bytes.
SELECT topic, partition, max(position)
FROM (
    SELECT position, topic, partition,
           sum(octet_length(data::text) + octet_length(metadata::text) + 500)
               OVER (PARTITION BY topic, partition ORDER BY position DESC) AS bytes
    FROM ledger.events
    WHERE position > %(after)s
) AS summed
WHERE bytes > %(bytes_max)s
GROUP BY topic, partition

-- name: started_restore
SELECT topic, partition, first_offset, after_position, until_position, started_at, refilled_at, finished_at
FROM ledger.restores
WHERE incarnation = %(incarnation)s

-- name: has_positions
SELECT EXISTS (SELECT FROM ledger.positions WHERE incarnation = %(incarnation)s)

-- name: start_restore
INSERT INTO ledger.restores (incarnation, topic, partition, first_offset, after_position, until_position)
SELECT %(incarnation)s, topic, partition, first_offset, after_position, %(until_position)s
FROM unnest(%(topics)s::text[], %(partitions)s::int[], %(first_offsets)s::bigint[], %(after_positions)s::bigint[])
    AS new (topic, partition, first_offset, after_position)

-- name: note_refilled
UPDATE ledger.restores SET refilled_at = now() WHERE incarnation = %(incarnation)s AND refilled_at IS NULL

-- name: note_finished
UPDATE ledger.restores SET finished_at = now() WHERE incarnation = %(incarnation)s AND finished_at IS NULL

-- name: ids_missing
-- An id that is none, as a stranger's record may have, is not recorded.
SELECT wanted.id
FROM unnest(%(ids)s::text[]) AS wanted (id)
LEFT JOIN ledger.events ON events.id = CASE WHEN wanted.id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                                            THEN wanted.id::uuid END
WHERE events.id IS NULL

-- name: newest_of
SELECT wanted.stream, newest.version, newest.type
FROM unnest(%(streams)s::text[]) AS wanted (stream)
CROSS JOIN LATERAL (
    SELECT version, type
    FROM ledger.events
    WHERE stream = wanted.stream AND version IS NOT NULL
    ORDER BY version DESC
    LIMIT 1
) AS newest

-- name: reports_of
SELECT position, recorded_at, topic, partition, source_offset, id::text, stream, version, type, data::text,
       metadata::text, occurred_at
FROM ledger.events
WHERE type = 'delivery.reported'
      AND (data ->> 'delivery_id' = ANY(%(delivery_ids)s) OR data ->> 'provider_message_id' = ANY(%(provider_ids)s))
ORDER BY position

-- name: pending_timers
SELECT DISTINCT ON (stream, data ->> 'kind')
       position, recorded_at, topic, partition, source_offset, id::text, stream, version, type, data::text,
       metadata::text, occurred_at
FROM ledger.events
WHERE type = 'timer.requested'
ORDER BY stream, data ->> 'kind', version DESC

-- name: causes_missing
-- What recorded events came of, and is not recorded itself, neither as it was nor as lost.
SELECT effect.metadata ->> 'causationid', min(effect.metadata ->> 'conversation')
FROM ledger.events AS effect
LEFT JOIN ledger.events AS cause ON cause.id::text = effect.metadata ->> 'causationid'
WHERE effect.position > %(after)s AND effect.metadata ->> 'causationid' IS NOT NULL AND cause.id IS NULL
      AND NOT EXISTS (
          SELECT FROM ledger.events AS lost
          WHERE lost.type = 'record.lost' AND lost.data ->> 'event_id' = effect.metadata ->> 'causationid'
      )
GROUP BY 1

-- name: lock
SELECT pg_advisory_xact_lock(hashtext('ledger.events'))

-- name: last_life
-- After which position the newest life of a broker was recorded.
SELECT coalesce(min(after_position), 0)
FROM ledger.positions
WHERE incarnation = (SELECT incarnation FROM ledger.positions ORDER BY after_position DESC, since DESC LIMIT 1)

-- name: undecided
-- What the dialog will decide about: every input after the ones that it has decided, by partition.
SELECT event.id::text
FROM unnest(%(partitions)s::int[], %(after_positions)s::bigint[]) AS decided (partition, after_position)
JOIN ledger.events AS event
  ON event.topic = 'chat.inbound' AND event.partition = decided.partition AND event.position > decided.after_position
