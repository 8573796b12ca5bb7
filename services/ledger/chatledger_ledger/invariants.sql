-- What `verify` asks. Each query answers with one row: how many were checked, how many break the rule, and a sentence
-- about each of the first ten.

-- name: acknowledged
-- I1: every acknowledged event is recorded.
WITH violations AS (
    SELECT acknowledged.id
    FROM unnest(%(ids)s::text[]) AS acknowledged (id)
    LEFT JOIN ledger.events ON events.id::text = acknowledged.id
    WHERE events.id IS NULL
    ORDER BY acknowledged.id
)
SELECT cardinality(%(ids)s::text[]), count(*),
       coalesce((array_agg('event ' || id || ' was acknowledged and is not in the ledger'))[1:10], '{}')
FROM violations

-- name: causes
-- I2: what was decided here names its cause, and that is recorded, or recorded as lost with its broker. What was decided
-- because of a request, or of what another system told, has none; only in these streams can that be. Applications of the library `eventsourcing` that record
-- here name no causes.
WITH effects AS (
    SELECT position, id, type, metadata ->> 'causationid' AS cause
    FROM ledger.events
    WHERE metadata ->> 'causationid' IS NOT NULL
          OR (version IS NOT NULL AND topic <> 'eventsourcing'
              AND stream !~ '^(campaign|client|inventory|reminder)-')
), violations AS (
    SELECT effects.*
    FROM effects
    LEFT JOIN ledger.events AS causes ON causes.id::text = effects.cause
    WHERE causes.id IS NULL
          AND (effects.cause IS NULL
               OR effects.cause <> ALL (SELECT data ->> 'event_id' FROM ledger.events WHERE type = 'record.lost'))
    ORDER BY effects.position
)
SELECT (SELECT count(*) FROM effects), count(*),
       coalesce((array_agg(format('%%s %%s at position %%s: its cause %%s is not in the ledger', type, id, position,
                                  coalesce(cause, '(none named)'))))[1:10], '{}')
FROM violations

-- name: lost
SELECT count(*) FROM ledger.events WHERE type = 'record.lost'

-- name: versions
-- I4: in the order of positions, the versions of a stream are 1, 2, 3 and so on.
WITH versioned AS (
    SELECT position, stream, version, row_number() OVER (PARTITION BY stream ORDER BY position) AS expected
    FROM ledger.events
    WHERE version IS NOT NULL
          AND stream ~ '^(campaign|client|conversation|crm-order|delivery|inventory|invoice|order|reminder)-'
), violations AS (
    SELECT DISTINCT ON (stream) position, stream, version, expected
    FROM versioned
    WHERE version <> expected
    ORDER BY stream, position
)
SELECT (SELECT count(*) FROM versioned), count(*),
       coalesce((array_agg(format('%%s at position %%s: version %%s where %%s should be', stream, position, version,
                                  expected)))[1:10], '{}')
FROM violations

-- name: unfinished
-- For settling: replies without an outcome, priced orders without an invoice, invoices of cancelled orders that are not
-- voided, and what a conversation was told and did nothing about yet. A reply that was lost may have an outcome.
SELECT greatest(0, count(*) FILTER (WHERE type = 'reply.requested'
                                          OR (type = 'record.lost' AND data ->> 'event_type' = 'reply.requested'))
                   - count(*) FILTER (WHERE type IN ('message.sent', 'message.failed', 'message.blocked')))
       + greatest(0, count(*) FILTER (WHERE type = 'order.placed' AND data ->> 'currency' IS NOT NULL)
                     - count(*) FILTER (WHERE type = 'invoice.issued'))
       + (SELECT count(*)
          FROM ledger.events AS cancelled
          JOIN ledger.events AS issued ON issued.type = 'invoice.issued'
                                          AND issued.data ->> 'order_id' = cancelled.data ->> 'order_id'
          WHERE cancelled.type = 'order.cancelled'
                AND NOT EXISTS (SELECT FROM ledger.events AS voided
                                WHERE voided.type = 'invoice.voided'
                                      AND voided.data ->> 'invoice_id' = issued.data ->> 'invoice_id'))
       + (SELECT count(*)
          FROM ledger.events AS told
          WHERE told.type IN ('order.reported', 'invoice.reported', 'notice.due')
                AND NOT EXISTS (SELECT FROM ledger.events AS effect
                                WHERE effect.metadata ->> 'causationid' = told.id::text))
FROM ledger.events

-- name: dead_letters
SELECT data ->> 'service', data ->> 'reason', count(*)
FROM ledger.events
WHERE type = 'record.dead_lettered'
GROUP BY 1, 2
ORDER BY 3 DESC, 1, 2
LIMIT 10

-- name: positions
SELECT topic, partition, next_offset FROM ledger.positions WHERE incarnation = %(incarnation)s
