-- Lay down issued invoices; one that is there already is left as it is.
INSERT INTO billing.invoices
    (id, number, project, order_id, conversation, status, version, lines, currency, total_minor, issued_on, due_on)
SELECT id, number, project, order_id, conversation, status, version, lines, currency, total_minor, issued_on, due_on
FROM jsonb_to_recordset(%s) AS new (
    id text, number text, project text, order_id text, conversation text, status text, version integer, lines jsonb,
    currency text, total_minor bigint, issued_on date, due_on date
)
ON CONFLICT (id) DO NOTHING
