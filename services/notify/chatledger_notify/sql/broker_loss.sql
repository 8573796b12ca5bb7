-- name: ended_back
-- Deliveries that have ended, the newest first, before a place in their order.
SELECT sequence, id, conversation, channel, regarding, published_at
FROM notify.deliveries
WHERE status <> 'waiting' AND (%(before)s::bigint IS NULL OR sequence < %(before)s)
ORDER BY sequence DESC
LIMIT %(limit)s

-- name: unmark_published
-- The broker has these outcomes no more. What was written to the client is forgotten; their events do without.
UPDATE notify.deliveries AS delivery
SET published_at = NULL, reply = lost.reply, reply_version = %(version)s
FROM unnest(%(ids)s::text[], %(replies)s::text[]) AS lost (id, reply)
WHERE delivery.id = lost.id

-- name: waiting_requests
-- What has not ended: which event asked for it.
SELECT id, conversation FROM notify.deliveries WHERE status = 'waiting'

-- name: risen_back
-- Deliveries whose status has risen, the newest first, and how many of their rises are still to be published.
SELECT delivery.sequence, delivery.id, delivery.version, delivery.provider_message_id, delivery.conversation,
    (SELECT count(*) FROM notify.statuses AS status WHERE status.delivery_id = delivery.id)
FROM notify.deliveries AS delivery
WHERE delivery.version > 1 AND (%(before)s::bigint IS NULL OR delivery.sequence < %(before)s)
ORDER BY delivery.sequence DESC
LIMIT %(limit)s

-- name: take_standings_back
-- These have come no further than history says; what it does not have is folded again, or reported again, or lost.
UPDATE notify.deliveries AS delivery
SET version = known.version, reported = known.reported
FROM unnest(%s::text[], %s::int[], %s::text[]) AS known (id, version, reported)
WHERE delivery.id = known.id

-- name: forget_rises_of
-- Rises of these are made again from their reports.
DELETE FROM notify.statuses WHERE delivery_id = ANY(%s)

-- name: rises
-- What is still to be published of rises, or may be: the reports that they come of.
SELECT status.report_id, delivery.conversation
FROM notify.statuses AS status
JOIN notify.deliveries AS delivery ON delivery.id = status.delivery_id
UNION ALL
SELECT report.id, delivery.conversation
FROM notify.reports AS report
JOIN notify.deliveries AS delivery ON delivery.id = report.delivery_id

-- name: timers
-- What is to fire, and what asked for it.
SELECT conversation, kind, timer_id FROM notify.timers
