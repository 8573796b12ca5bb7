-- name: insert_deliveries
-- Takes what was asked for, in order; returns the ids that were new.
INSERT INTO notify.deliveries
    (id, conversation, partition, channel, reply, reply_version, requested_at, correlation_id, traceparent, regarding)
SELECT id, conversation, partition, channel, reply, reply_version, requested_at, correlation_id, traceparent, regarding
FROM unnest(
    %s::text[], %s::text[], %s::int[], %s::text[], %s::text[], %s::int[], %s::timestamptz[], %s::text[], %s::text[],
    %s::text[]
) WITH ORDINALITY AS new
    (id, conversation, partition, channel, reply, reply_version, requested_at, correlation_id, traceparent, regarding,
    number)
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
-- Notes what came of tries. What has ended stays as it ended; returns the ids that were still waiting. Reports that wait
-- for a message that is known now are new again.
WITH recorded AS (
    UPDATE notify.deliveries AS delivery
    SET status = result.status, attempts = result.attempts, next_attempt_at = result.next_attempt_at,
        provider_message_id = result.provider_message_id, reason = result.reason, http_status = result.http_status,
        ended_at = result.ended_at
    FROM unnest(
        %s::text[], %s::text[], %s::int[], %s::timestamptz[], %s::text[], %s::text[], %s::int[], %s::timestamptz[]
    ) AS result (id, status, attempts, next_attempt_at, provider_message_id, reason, http_status, ended_at)
    WHERE delivery.id = result.id AND delivery.status = 'waiting'
    RETURNING delivery.id, delivery.provider_message_id
), known AS (
    UPDATE notify.reports AS report SET waiting = false
    FROM recorded
    WHERE report.waiting AND report.provider_message_id = recorded.provider_message_id
)
SELECT id FROM recorded

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

-- name: last_message_at
-- When a client last wrote.
SELECT last_message_at FROM notify.clients WHERE conversation = %s

-- name: save_clients
-- When clients last wrote; an older message never hides a newer one.
INSERT INTO notify.clients AS client (conversation, last_message_at)
SELECT * FROM unnest(%s::text[], %s::timestamptz[])
ON CONFLICT (conversation) DO UPDATE SET last_message_at = excluded.last_message_at
WHERE excluded.last_message_at > client.last_message_at

-- name: save_reports
-- Takes reports in, in order, each for the partition of the delivery that it names, if it does.
INSERT INTO notify.reports
    (id, partition, project, channel, delivery_id, provider_message_id, status, error, reported_at)
SELECT new.id, COALESCE(delivery.partition, new.partition), new.project, new.channel, delivery.id,
    new.provider_message_id, new.status, new.error, new.reported_at
FROM unnest(
    %s::text[], %s::int[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::timestamptz[]
) WITH ORDINALITY AS new
    (id, partition, project, channel, delivery_id, provider_message_id, status, error, reported_at, number)
LEFT JOIN notify.deliveries AS delivery
    ON delivery.id = new.delivery_id AND delivery.project = new.project AND delivery.channel = new.channel
ORDER BY new.number
ON CONFLICT (id) DO NOTHING

-- name: claim_reports
-- The oldest reports of some partitions that are to be folded, locked.
SELECT sequence, id, partition, project, channel, delivery_id, provider_message_id, status, error, reported_at
FROM notify.reports
WHERE partition = ANY(%s) AND NOT waiting
ORDER BY sequence LIMIT %s
FOR UPDATE

-- name: find_sent
-- Which deliveries the provider knows by these ids.
SELECT project, channel, provider_message_id, id FROM notify.deliveries
WHERE provider_message_id = ANY(%s) AND provider_message_id <> ''

-- name: lock_standings
-- Some deliveries' rows, locked; the first nine columns are those of every query over deliveries.
SELECT id, conversation, partition, reply, reply_version, requested_at, correlation_id, traceparent, attempts,
    status, channel, regarding, provider_message_id, ended_at, reported, version
FROM notify.deliveries WHERE id = ANY(%s)
ORDER BY id FOR UPDATE

-- name: save_standings
-- What reports made of locked rows.
UPDATE notify.deliveries AS delivery
SET status = told.status, attempts = told.attempts, provider_message_id = told.provider_message_id,
    ended_at = told.ended_at, reported = told.reported, version = told.version,
    reason = COALESCE(told.reason, delivery.reason),
    next_attempt_at = CASE WHEN told.status = 'waiting' THEN delivery.next_attempt_at END
FROM unnest(
    %s::text[], %s::text[], %s::int[], %s::text[], %s::timestamptz[], %s::text[], %s::int[], %s::text[]
) AS told (id, status, attempts, provider_message_id, ended_at, reported, version, reason)
WHERE delivery.id = told.id

-- name: save_rises
-- What is to be told of deliveries whose status rose.
INSERT INTO notify.statuses (delivery_id, version, status, report_id, provider_message_id, reason, happened_at)
SELECT * FROM unnest(
    %s::text[], %s::int[], %s::text[], %s::text[], %s::text[], %s::text[], %s::timestamptz[]
)

-- name: forget_reports
-- These have been folded.
DELETE FROM notify.reports WHERE sequence = ANY(%s)

-- name: let_reports_wait
-- No message is known by these reports' ids yet.
UPDATE notify.reports SET waiting = true WHERE sequence = ANY(%s)

-- name: load_rises
-- Rises of one partition's deliveries that the broker may not have been told, in the order of each stream.
SELECT status.delivery_id, status.version, status.status, status.report_id, status.provider_message_id, status.reason,
    status.happened_at, delivery.conversation, delivery.channel, delivery.regarding, delivery.correlation_id,
    delivery.traceparent
FROM notify.statuses AS status
JOIN notify.deliveries AS delivery ON delivery.id = status.delivery_id
WHERE delivery.partition = %s
ORDER BY delivery.sequence, status.version

-- name: forget_rises
-- The broker has been told these.
DELETE FROM notify.statuses AS status
USING unnest(%s::text[], %s::int[]) AS told (delivery_id, version)
WHERE status.delivery_id = told.delivery_id AND status.version = told.version

-- name: forget_old_reports
-- No message will be known by these any more.
DELETE FROM notify.reports WHERE waiting AND reported_at < %s

-- name: forget_old_clients
-- No provider's window is open for these.
DELETE FROM notify.clients WHERE last_message_at < %s

-- name: show_breakers
-- How this worker's breakers stand. Where another worker, seen lately, has one in a worse state, that one is shown.
INSERT INTO notify.breakers AS shown (name, state, failures, changed_at, seen_at, worker)
SELECT name, state, failures, changed_at, %(now)s, %(worker)s
FROM unnest(%(names)s::text[], %(states)s::text[], %(failures)s::int[], %(changed)s::timestamptz[])
    AS mine (name, state, failures, changed_at)
ORDER BY name
ON CONFLICT (name) DO UPDATE
SET state = excluded.state, failures = excluded.failures, changed_at = excluded.changed_at,
    seen_at = excluded.seen_at, worker = excluded.worker
WHERE shown.worker = excluded.worker OR shown.seen_at < %(stale)s
    OR array_position(ARRAY['closed', 'half_open', 'open'], excluded.state)
        > array_position(ARRAY['closed', 'half_open', 'open'], shown.state)

-- name: forget_breakers
-- Accounts that nobody has any more.
DELETE FROM notify.breakers WHERE seen_at < %s
