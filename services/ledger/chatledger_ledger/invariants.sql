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
-- I2: what was decided here names its cause, and that is recorded.
WITH effects AS (
    SELECT position, id, type, metadata ->> 'causationid' AS cause
    FROM ledger.events
    WHERE version IS NOT NULL OR metadata ->> 'causationid' IS NOT NULL
), violations AS (
    SELECT effects.*
    FROM effects
    LEFT JOIN ledger.events AS causes ON causes.id::text = effects.cause
    WHERE causes.id IS NULL
    ORDER BY effects.position
)
SELECT (SELECT count(*) FROM effects), count(*),
       coalesce((array_agg(format('%%s %%s at position %%s: its cause %%s is not in the ledger', type, id, position,
                                  coalesce(cause, '(none named)'))))[1:10], '{}')
FROM violations

-- name: versions
-- I4: in the order of positions, the versions of a stream are 1, 2, 3 and so on.
WITH versioned AS (
    SELECT position, stream, version, row_number() OVER (PARTITION BY stream ORDER BY position) AS expected
    FROM ledger.events
    WHERE version IS NOT NULL
          AND (stream LIKE 'conversation-%%' OR stream LIKE 'order-%%' OR stream LIKE 'invoice-%%')
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

-- name: invoices
-- I6: an order with a price has one invoice, for the same lines; without a price it has none.
WITH orders AS (
    SELECT data ->> 'order_id' AS order_id, data ->> 'currency' AS currency, data -> 'lines' AS lines
    FROM ledger.events
    WHERE type = 'order.placed'
), invoices AS (
    SELECT data ->> 'order_id' AS order_id, count(*) AS invoices, min(data ->> 'currency') AS currency,
           (array_agg(data -> 'lines'))[1] AS lines
    FROM ledger.events
    WHERE type = 'invoice.issued'
    GROUP BY 1
), violations AS (
    SELECT order_id,
           CASE
               WHEN orders.order_id IS NULL THEN 'has an invoice and was never placed'
               WHEN orders.currency IS NULL THEN 'has no price and an invoice'
               WHEN invoices.order_id IS NULL THEN 'has a price and no invoice'
               WHEN invoices.invoices > 1 THEN 'has ' || invoices.invoices || ' invoices'
               ELSE 'has an invoice for other lines or in another currency'
           END AS complaint
    FROM orders
    FULL JOIN invoices USING (order_id)
    WHERE orders.order_id IS NULL
          OR (orders.currency IS NULL) <> (invoices.order_id IS NULL)
          OR invoices.invoices > 1
          OR invoices.lines <> orders.lines
          OR invoices.currency <> orders.currency
    ORDER BY order_id
)
SELECT (SELECT count(*) FROM orders), count(*),
       coalesce((array_agg('order ' || order_id || ' ' || complaint))[1:10], '{}')
FROM violations

-- name: invoice_sums
-- I6: an invoice's total is the sum of its lines, in minor units.
WITH invoices AS (
    SELECT data ->> 'number' AS number, data ->> 'project' AS project, data ->> 'total_minor' AS total,
           (SELECT sum((line ->> 'quantity')::numeric * (line ->> 'unit_price_minor')::numeric)
            FROM jsonb_array_elements(data -> 'lines') AS line) AS sum
    FROM ledger.events
    WHERE type = 'invoice.issued'
), violations AS (
    SELECT * FROM invoices WHERE total::numeric IS DISTINCT FROM sum ORDER BY project, number
)
SELECT (SELECT count(*) FROM invoices), count(*),
       coalesce((array_agg(format('invoice %%s of %%s: total %%s, sum of its lines %%s', number, project, total,
                                  sum)))[1:10], '{}')
FROM violations

-- name: invoice_numbers
-- I6: within a project and a year the invoices are numbered 1, 2, 3 and so on.
WITH invoices AS (
    SELECT data ->> 'project' AS project, left(data ->> 'issued_on', 4) AS year, data ->> 'number' AS number,
           substring(data ->> 'number' FROM '[0-9]+$')::numeric AS counted
    FROM ledger.events
    WHERE type = 'invoice.issued'
), numbered AS (
    SELECT *, row_number() OVER (PARTITION BY project, year ORDER BY counted, number) AS expected FROM invoices
), violations AS (
    SELECT DISTINCT ON (project, year) *
    FROM numbered
    WHERE counted IS DISTINCT FROM expected
    ORDER BY project, year, expected
)
SELECT (SELECT count(*) FROM invoices), count(*),
       coalesce((array_agg(format('project %%s, year %%s: invoice %%s where number %%s should be', project, year,
                                  number, expected)))[1:10], '{}')
FROM violations

-- name: replies
-- I7: a requested reply ended once: sent, failed, or as a dead letter. A dead letter that was put back may end as sent
-- or failed as well. `waiting` are the ids that are still on their way.
WITH requested AS (
    SELECT id::text AS id FROM ledger.events WHERE type = 'reply.requested'
), ended AS (
    SELECT delivery_id AS id, count(*) FILTER (WHERE NOT is_dead) AS times
    FROM (
        SELECT data ->> 'delivery_id' AS delivery_id, false AS is_dead
        FROM ledger.events
        WHERE type IN ('message.sent', 'message.failed')
        UNION ALL
        SELECT data -> 'headers' ->> 'ce_id', true
        FROM ledger.events
        WHERE type = 'record.dead_lettered' AND data ->> 'service' = 'notify'
              AND data -> 'headers' ->> 'ce_type' = 'reply.requested'
    ) AS outcomes
    GROUP BY 1
), violations AS (
    SELECT id,
           CASE
               WHEN requested.id IS NULL THEN 'has an outcome and was never requested'
               WHEN ended.id IS NULL THEN 'was requested and has no outcome'
               ELSE 'has ' || ended.times || ' outcomes'
           END AS complaint
    FROM requested
    FULL JOIN ended USING (id)
    WHERE requested.id IS NULL
          OR ended.times > 1
          OR (ended.id IS NULL AND NOT id = ANY(%(waiting)s::text[]))
    ORDER BY id
)
SELECT (SELECT count(*) FROM requested), count(*),
       coalesce((array_agg('reply ' || id || ' ' || complaint))[1:10], '{}')
FROM violations

-- name: waiting_replies
-- What notify still has to send, or to say that it sent. Only where its schema is in the same database.
SELECT id FROM notify.deliveries WHERE published_at IS NULL

-- name: unfinished
-- For settling: replies without an outcome, and orders with a price that have no invoice yet.
SELECT (SELECT count(*) FROM ledger.events WHERE type = 'reply.requested')
       - (SELECT count(*) FROM ledger.events WHERE type IN ('message.sent', 'message.failed'))
       + (SELECT count(*) FROM ledger.events WHERE type = 'order.placed' AND data ->> 'currency' IS NOT NULL)
       - (SELECT count(*) FROM ledger.events WHERE type = 'invoice.issued')

-- name: dead_letters
SELECT data ->> 'service', data ->> 'reason', count(*)
FROM ledger.events
WHERE type = 'record.dead_lettered'
GROUP BY 1, 2
ORDER BY 3 DESC, 1, 2
LIMIT 10

-- name: positions
SELECT topic, partition, next_offset FROM ledger.positions WHERE incarnation = %(incarnation)s
