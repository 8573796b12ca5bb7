-- Lay down orders; one that is there already is left as it is.
INSERT INTO outreach.orders (id, number, conversation, project, status, total_minor, currency, created_at)
SELECT id, number, conversation, project, 'created', total_minor, currency, created_at
FROM jsonb_to_recordset(%s) AS new
    (id text, number text, conversation text, project text, total_minor bigint, currency text, created_at timestamptz)
ON CONFLICT (id) DO NOTHING
