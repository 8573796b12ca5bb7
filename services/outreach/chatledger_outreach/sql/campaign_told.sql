-- Note that these conversations are told, but for those to whom there is nothing to say.
UPDATE outreach.campaign_targets
SET state = CASE WHEN conversation = ANY(%(empty)s::text[]) THEN 2 ELSE 1 END,
    reason = CASE WHEN conversation = ANY(%(empty)s::text[]) THEN 'empty' END
WHERE campaign_id = %(campaign_id)s AND place >= %(first)s AND place < %(first)s + %(count)s AND state = 0
