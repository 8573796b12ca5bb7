-- Note what became of messages; a state never goes back. What was heard since a message was sent is a response to it.
UPDATE outreach.campaign_targets AS target
SET state = GREATEST(target.state, new.state),
    reason = CASE WHEN new.state > target.state THEN new.reason ELSE target.reason END,
    sent_at = LEAST(target.sent_at, new.sent_at),
    responded = target.responded OR EXISTS (
        SELECT FROM unnest(target.heard_at) AS heard (at)
        WHERE heard.at > LEAST(target.sent_at, new.sent_at)
          AND heard.at <= LEAST(target.sent_at, new.sent_at) + interval '24 hours'
    )
FROM unnest(%s::text[], %s::text[], %s::smallint[], %s::text[], %s::timestamptz[])
    AS new (campaign_id, conversation, state, reason, sent_at)
WHERE target.campaign_id = new.campaign_id AND target.conversation = new.conversation
