-- What became of a campaign's messages. What was delivered or read was sent.
SELECT count(*) FILTER (WHERE state = 2) AS skipped,
       count(*) FILTER (WHERE sent_at IS NOT NULL OR state >= 5) AS sent,
       count(*) FILTER (WHERE state >= 5) AS delivered,
       count(*) FILTER (WHERE state = 6) AS read,
       count(*) FILTER (WHERE state = 4) AS failed,
       count(*) FILTER (WHERE responded) AS responses
FROM outreach.campaign_targets
WHERE campaign_id = %s
