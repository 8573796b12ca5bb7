-- Note what was heard of clients; what is null says nothing.
UPDATE outreach.clients AS client
SET name = coalesce(heard.name, client.name),
    language = coalesce(heard.language, client.language),
    opted_out = coalesce(heard.opted_out, client.opted_out),
    last_message_at = greatest(heard.last_message_at, client.last_message_at)
FROM jsonb_to_recordset(%s) AS heard
    (conversation text, name text, language text, opted_out boolean, last_message_at timestamptz)
WHERE client.conversation = heard.conversation
