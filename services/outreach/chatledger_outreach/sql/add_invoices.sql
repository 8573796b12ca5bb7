-- Lay down invoices; one that is there already is left as it is.
INSERT INTO outreach.invoices (id, number, order_id, conversation, project, status, total_minor, currency, due_on)
SELECT id, number, order_id, conversation, project, 'issued', total_minor, currency, due_on
FROM jsonb_to_recordset(%s) AS new
    (id text, number text, order_id text, conversation text, project text, total_minor bigint, currency text,
     due_on date)
ON CONFLICT (id) DO NOTHING
