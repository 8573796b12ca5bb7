-- Make rows for clients that were not heard of before.
INSERT INTO outreach.clients (conversation, project, channel, client_id, time_zone)
SELECT conversation, project, channel, client_id, time_zone
FROM jsonb_to_recordset(%s) AS new (conversation text, project text, channel text, client_id text, time_zone text)
ON CONFLICT (conversation) DO NOTHING
