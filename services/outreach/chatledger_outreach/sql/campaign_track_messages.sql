-- Note what clients wrote: a response to what was sent to them within a day before; and, where a message is still on
-- its way to them, when they wrote, at most a hundred times.
UPDATE outreach.campaign_targets AS target
SET responded = target.responded OR (
        target.sent_at IS NOT NULL AND EXISTS (
            SELECT FROM unnest(%(times)s::timestamptz[], %(conversations)s::text[]) AS heard (at, conversation)
            WHERE heard.conversation = target.conversation
              AND heard.at > target.sent_at
              AND heard.at <= target.sent_at + interval '24 hours'
        )
    ),
    heard_at = CASE WHEN target.sent_at IS NULL THEN (
        SELECT array_agg(at ORDER BY at)
        FROM (
            SELECT at FROM unnest(target.heard_at) AS before (at)
            UNION
            SELECT at FROM unnest(%(times)s::timestamptz[], %(conversations)s::text[]) AS heard (at, conversation)
            WHERE heard.conversation = target.conversation
            ORDER BY at DESC
            LIMIT 100
        ) AS kept
    ) ELSE target.heard_at END
WHERE target.conversation = ANY(%(conversations)s::text[])
  AND NOT target.responded
  AND (target.state = 1 OR target.sent_at >= %(earliest)s::timestamptz - interval '24 hours')
