-- The clients in some places of a campaign, and what is known of them now.
SELECT target.conversation, client.name, client.language, COALESCE(client.orders, 0), client.last_order_at
FROM outreach.campaign_targets AS target
LEFT JOIN outreach.clients AS client ON client.conversation = target.conversation
WHERE target.campaign_id = %(campaign_id)s AND target.place >= %(first)s AND target.place < %(first)s + %(count)s
ORDER BY target.place
