-- name: append_events
-- Events, in order, for their streams and for the outbox.
INSERT INTO crm.events
    (id, key, stream, version, type, schema_version, time, correlation_id, causation_id, traceparent, data)
SELECT id, key, stream, version, type, schema_version, time, correlation_id, causation_id, traceparent, data
FROM unnest(
    %s::text[], %s::text[], %s::text[], %s::bigint[], %s::text[], %s::int[], %s::timestamptz[], %s::text[], %s::text[],
    %s::text[], %s::text[]
) WITH ORDINALITY AS new
    (id, key, stream, version, type, schema_version, time, correlation_id, causation_id, traceparent, data, place)
ORDER BY place

-- name: last_version
-- How far a stream has come.
SELECT coalesce(max(version), 0) FROM crm.events WHERE stream = %s

-- name: unpublished_events
-- The oldest events that the broker may not have, in the order of positions.
SELECT id, key, stream, version, type, schema_version, time, correlation_id, causation_id, traceparent, data, position
FROM crm.events
WHERE published_at IS NULL
ORDER BY position
LIMIT %s

-- name: mark_published
-- The broker has these events.
UPDATE crm.events SET published_at = %s WHERE position = ANY(%s)

-- name: say_again
-- Publish the last copy of each product once more, where it was published before then.
UPDATE crm.events
SET published_at = NULL
WHERE id IN (SELECT event_id FROM crm.inventory) AND published_at < %s

-- name: meet_incarnation
-- Note a life of the broker; returns a row where it is a new one.
INSERT INTO crm.incarnations (incarnation, told_at) VALUES (%s, %s) ON CONFLICT DO NOTHING RETURNING incarnation

-- name: plan_refreshes
-- Every project's first refresh is due at once.
INSERT INTO crm.refreshes (project, due_at) SELECT project, %s FROM unnest(%s::text[]) AS wanted (project)
ON CONFLICT DO NOTHING

-- name: claim_refreshes
-- Take what is due; nobody else does until the next time.
UPDATE crm.refreshes AS refresh
SET due_at = %(now)s + wanted.every
FROM unnest(%(projects)s::text[], %(every)s::interval[]) AS wanted (project, every)
WHERE refresh.project = wanted.project AND refresh.due_at <= %(now)s
RETURNING refresh.project, refresh.failures

-- name: postpone_refresh
-- It did not work; it is tried again at a time of its own.
UPDATE crm.refreshes SET due_at = %s, failures = failures + 1 WHERE project = %s

-- name: confirm_refresh
-- Everything of a project was fetched.
UPDATE crm.refreshes SET fetched_at = %s, failures = 0 WHERE project = %s

-- name: read_inventory
-- The last copy of one project, held until the end of the transaction.
SELECT sku, reference, price_minor, stock, version FROM crm.inventory WHERE project = %s FOR UPDATE

-- name: save_inventory
-- What is another than before, with its event.
INSERT INTO crm.inventory AS copy (project, sku, reference, price_minor, stock, fetched_at, event_id, version)
SELECT %(project)s, sku, reference, price_minor, stock, %(at)s, event_id, version
FROM unnest(
    %(skus)s::text[], %(references)s::text[], %(prices)s::bigint[], %(stocks)s::bigint[], %(events)s::text[],
    %(versions)s::bigint[]
) AS new (sku, reference, price_minor, stock, event_id, version)
ON CONFLICT (project, sku) DO UPDATE
SET reference = excluded.reference, price_minor = excluded.price_minor, stock = excluded.stock,
    event_id = excluded.event_id, version = excluded.version

-- name: confirm_inventory
-- Everything that is known of a project was fetched now, changed or not.
UPDATE crm.inventory SET fetched_at = %s WHERE project = %s

-- name: fetched_at
-- How old each project's copy is.
SELECT project, fetched_at FROM crm.refreshes WHERE project = ANY(%s) AND fetched_at IS NOT NULL

-- name: references_of
-- The CRM's ids of some products.
SELECT sku, reference FROM crm.inventory WHERE project = %s AND sku = ANY(%s) AND reference IS NOT NULL

-- name: take_orders
-- Orders that billing created.
INSERT INTO crm.orders (id, project, created, created_version)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::int[])
ON CONFLICT (id) DO NOTHING

-- name: take_pushes
-- Changes of orders, in order.
INSERT INTO crm.pushes (id, order_id, project, status, correlation_id, traceparent)
SELECT id, order_id, project, status, correlation_id, traceparent
FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[]) WITH ORDINALITY AS new
    (id, order_id, project, status, correlation_id, traceparent, place)
ORDER BY place
ON CONFLICT (id) DO NOTHING

-- name: claim_push
-- The first change that is due and has none of its order before it; nobody else takes it for the length of the claim.
-- An order waits until its project's products were fetched once: its lines name them.
UPDATE crm.pushes AS push
SET next_attempt_at = %(until)s, attempts = push.attempts + 1
FROM (
    SELECT first.id
    FROM (
        SELECT DISTINCT ON (order_id) id, sequence, project, next_attempt_at
        FROM crm.pushes
        WHERE done_at IS NULL
        ORDER BY order_id, sequence
    ) AS first
    WHERE first.project IN (
            SELECT project FROM crm.refreshes WHERE project = ANY(%(projects)s) AND fetched_at IS NOT NULL
        )
        AND (first.next_attempt_at IS NULL OR first.next_attempt_at <= %(now)s)
    ORDER BY first.sequence
    LIMIT 1
) AS chosen
WHERE push.id = chosen.id AND push.done_at IS NULL
    AND (push.next_attempt_at IS NULL OR push.next_attempt_at <= %(now)s)
RETURNING push.id, push.order_id, push.project, push.status, push.correlation_id, push.traceparent, push.attempts,
    (SELECT orders.created FROM crm.orders WHERE orders.id = push.order_id),
    (SELECT orders.created_version FROM crm.orders WHERE orders.id = push.order_id),
    (SELECT orders.reference FROM crm.orders WHERE orders.id = push.order_id)

-- name: postpone_push
-- It did not work now; later. An attempt that was not made is taken back.
UPDATE crm.pushes
SET next_attempt_at = %(at)s, attempts = attempts - %(not_made)s
WHERE id = %(id)s AND done_at IS NULL

-- name: waiting_pushes
-- Changes that the CRM has not been told of.
SELECT id, project, order_id FROM crm.pushes WHERE done_at IS NULL

-- name: finish_push
-- It is over, one way or the other; returns a row where it was not over before.
UPDATE crm.pushes SET done_at = %s WHERE id = %s AND done_at IS NULL RETURNING id

-- name: remember_reference
-- The CRM has the order under this id.
UPDATE crm.orders SET reference = %s WHERE id = %s

-- name: save_breaker
-- What a breaker says of itself.
INSERT INTO crm.breakers AS breaker (name, state, failures, changed_at, seen_at)
VALUES (%(name)s, %(state)s, %(failures)s, %(now)s, %(now)s)
ON CONFLICT (name) DO UPDATE
SET state = excluded.state, failures = excluded.failures, seen_at = excluded.seen_at,
    changed_at = CASE WHEN breaker.state = excluded.state THEN breaker.changed_at ELSE excluded.seen_at END
