-- name: insert_deliveries
-- Takes what was asked for, in order; returns the ids that were new.
INSERT INTO notify.deliveries
    (id, conversation, partition, channel, reply, reply_version, requested_at, correlation_id, traceparent)
SELECT id, conversation, partition, channel, reply, reply_version, requested_at, correlation_id, traceparent
FROM unnest(
    %s::text[], %s::text[], %s::int[], %s::text[], %s::text[], %s::int[], %s::timestamptz[], %s::text[], %s::text[]
) WITH ORDINALITY AS new
    (id, conversation, partition, channel, reply, reply_version, requested_at, correlation_id, traceparent, number)
ORDER BY number
ON CONFLICT (id) DO NOTHING
RETURNING id

-- name: clients_waiting
-- Each client of one partition with something unsent, and when its first message is due (NULL: now), oldest first.
SELECT conversation, next_attempt_at
FROM (
    SELECT DISTINCT ON (conversation) conversation, next_attempt_at, sequence
    FROM notify.deliveries
    WHERE status = 'waiting' AND partition = %s
    ORDER BY conversation, sequence
) AS first
ORDER BY sequence

-- name: load_waiting
-- The oldest unsent messages of some clients, at most so many of each, in the order of sending.
SELECT waiting.id, waiting.conversation, waiting.partition, waiting.reply, waiting.reply_version,
    waiting.requested_at, waiting.correlation_id, waiting.traceparent, waiting.attempts
FROM unnest(%s::int[], %s::text[]) AS client (partition, conversation)
CROSS JOIN LATERAL (
    SELECT *
    FROM notify.deliveries AS delivery
    WHERE delivery.status = 'waiting'
        AND delivery.partition = client.partition
        AND delivery.conversation = client.conversation
    ORDER BY delivery.sequence
    LIMIT %s
) AS waiting
ORDER BY waiting.sequence

-- name: record_results
-- Notes what came of tries. What has ended stays as it ended; returns the ids that were still waiting.
UPDATE notify.deliveries AS delivery
SET status = result.status, attempts = result.attempts, next_attempt_at = result.next_attempt_at,
    provider_message_id = result.provider_message_id, reason = result.reason, http_status = result.http_status,
    ended_at = result.ended_at
FROM unnest(
    %s::text[], %s::text[], %s::int[], %s::timestamptz[], %s::text[], %s::text[], %s::int[], %s::timestamptz[]
) AS result (id, status, attempts, next_attempt_at, provider_message_id, reason, http_status, ended_at)
WHERE delivery.id = result.id AND delivery.status = 'waiting'
RETURNING delivery.id

-- name: load_unpublished
-- Deliveries of one partition that ended, but whose event the broker may not have.
SELECT id, conversation, partition, reply, reply_version, requested_at, correlation_id, traceparent, attempts,
    status, ended_at, provider_message_id, reason, http_status
FROM notify.deliveries
WHERE status <> 'waiting' AND published_at IS NULL AND partition = %s
ORDER BY sequence

-- name: mark_published
-- The broker has these outcomes. The id stays, against a second delivery; what was written to the client does not.
UPDATE notify.deliveries SET published_at = now(), reply = '' WHERE id = ANY(%s)

-- name: save_timers
-- At most one timer of a kind per conversation: a newer request replaces an older one.
INSERT INTO notify.timers AS timer
    (conversation, kind, due, timer_id, version, partition, correlation_id, traceparent)
SELECT * FROM unnest(
    %s::text[], %s::text[], %s::timestamptz[], %s::text[], %s::bigint[], %s::int[], %s::text[], %s::text[]
)
ON CONFLICT (conversation, kind) DO UPDATE
SET due = excluded.due, timer_id = excluded.timer_id, version = excluded.version, partition = excluded.partition,
    correlation_id = excluded.correlation_id, traceparent = excluded.traceparent, fired_at = NULL
WHERE excluded.version >= timer.version AND excluded.timer_id <> timer.timer_id

-- name: claim_timers
-- Timers whose time has come, oldest first, each with the time that its event has at every publication.
UPDATE notify.timers AS timer
SET fired_at = COALESCE(timer.fired_at, GREATEST(timer.due, %(now)s))
FROM (
    SELECT conversation, kind FROM notify.timers
    WHERE due <= %(now)s AND partition = ANY(%(partitions)s)
    ORDER BY due LIMIT %(limit)s FOR UPDATE
) AS ready
WHERE timer.conversation = ready.conversation AND timer.kind = ready.kind
RETURNING timer.conversation, timer.kind, timer.due, timer.timer_id, timer.correlation_id, timer.traceparent,
    timer.fired_at

-- name: delete_timers
-- These have fired. One that was replaced in the meantime has another id, and stays.
DELETE FROM notify.timers AS timer
USING unnest(%s::text[], %s::text[], %s::text[]) AS fired (conversation, kind, timer_id)
WHERE timer.conversation = fired.conversation AND timer.kind = fired.kind AND timer.timer_id = fired.timer_id

-- name: next_timer
-- When the next timer of these partitions is due.
SELECT min(due) FROM notify.timers WHERE partition = ANY(%s)
