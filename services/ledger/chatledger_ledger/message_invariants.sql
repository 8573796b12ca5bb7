-- I7, part by part; the queries answer as those of invariants.sql do.

-- name: messages
-- A requested message ended once: sent, failed, blocked, or as a dead letter. A dead letter that was put back may end
-- otherwise as well. `waiting` are the ids that are still on their way. A request may be known as lost with its broker.
WITH requested AS (
    SELECT id::text AS id FROM ledger.events WHERE type = 'reply.requested'
), ended AS (
    SELECT delivery_id AS id, count(*) FILTER (WHERE NOT is_dead) AS times
    FROM (
        SELECT data ->> 'delivery_id' AS delivery_id, false AS is_dead
        FROM ledger.events
        WHERE type IN ('message.sent', 'message.failed', 'message.blocked')
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
    WHERE (requested.id IS NULL
           AND id <> ALL (SELECT data ->> 'event_id' FROM ledger.events WHERE type = 'record.lost'))
          OR ended.times > 1
          OR (ended.id IS NULL AND NOT id = ANY(%(waiting)s::text[]))
    ORDER BY id
)
SELECT (SELECT count(*) FROM requested), count(*),
       coalesce((array_agg('message ' || id || ' ' || complaint))[1:10], '{}')
FROM violations

-- name: statuses
-- What the provider said of a message comes after `sent` and goes forward only: sent, undelivered, delivered, read.
WITH statuses AS (
    SELECT position, data ->> 'delivery_id' AS delivery_id, type,
           array_position(ARRAY['message.sent', 'message.undelivered', 'message.delivered', 'message.read'], type)
               AS rank
    FROM ledger.events
    WHERE type IN ('message.sent', 'message.undelivered', 'message.delivered', 'message.read')
), compared AS (
    SELECT *,
           max(rank) OVER before AS highest,
           bool_or(type = 'message.sent') OVER before AS was_sent
    FROM statuses
    WINDOW before AS (PARTITION BY delivery_id ORDER BY position
                      ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
), violations AS (
    SELECT *, CASE WHEN was_sent THEN 'goes back' ELSE 'comes before it was sent' END AS complaint
    FROM compared
    WHERE type <> 'message.sent' AND (was_sent IS NOT TRUE OR rank <= highest)
    ORDER BY position
)
SELECT (SELECT count(*) FROM statuses WHERE type <> 'message.sent'), count(*),
       coalesce((array_agg(format('message %%s: %%s at position %%s %%s', delivery_id, type, position,
                                  complaint)))[1:10], '{}')
FROM violations

-- name: campaigns
-- A campaign asks for at most one message in each conversation.
WITH asked AS (
    SELECT data ->> 'regarding' AS campaign, stream, count(*) AS times
    FROM ledger.events
    WHERE type = 'reply.requested' AND data ->> 'regarding' LIKE 'campaign-%%'
    GROUP BY 1, 2
), violations AS (
    SELECT * FROM asked WHERE times > 1 ORDER BY campaign, stream
)
SELECT (SELECT count(*) FROM asked), count(*),
       coalesce((array_agg(format('%%s was sent %%s times in %%s', campaign, times, stream)))[1:10], '{}')
FROM violations

-- name: promotions
-- Nothing promotional is said between `opted_out` and `opted_in`, in the order of the conversation's own stream: no
-- message of a promotional campaign, and none because of a notice that calls itself promotional.
WITH promotional AS (
    SELECT 'campaign-' || (data ->> 'campaign_id') AS regarding
    FROM ledger.events
    WHERE type = 'campaign.created' AND data ->> 'kind' = 'PROMOTIONAL'
), notices AS (
    SELECT id::text AS id FROM ledger.events WHERE type = 'notice.due' AND (data ->> 'promotional')::boolean
), steps AS (
    SELECT position, stream, version, type, data ->> 'regarding' AS regarding,
           metadata ->> 'causationid' AS cause,
           max(version) FILTER (WHERE type = 'client.opted_out') OVER so_far AS opted_out,
           max(version) FILTER (WHERE type = 'client.opted_in') OVER so_far AS opted_in
    FROM ledger.events
    WHERE type IN ('client.opted_out', 'client.opted_in')
          OR (type = 'reply.requested' AND data ->> 'regarding' IS NOT NULL)
    WINDOW so_far AS (PARTITION BY stream ORDER BY version)
), promotions AS (
    SELECT *
    FROM steps
    WHERE type = 'reply.requested'
          AND (regarding IN (SELECT regarding FROM promotional) OR cause IN (SELECT id FROM notices))
), violations AS (
    SELECT * FROM promotions WHERE opted_out > coalesce(opted_in, 0) ORDER BY position
)
SELECT (SELECT count(*) FROM promotions), count(*),
       coalesce((array_agg(format('%%s, version %%s: a promotion (%%s) after the client opted out at version %%s',
                                  stream, version, regarding, opted_out)))[1:10], '{}')
FROM violations

-- name: waiting_messages
-- What notify still has to send, or to say that it sent. Only where its schema is in the same database.
SELECT id FROM notify.deliveries WHERE published_at IS NULL
