-- Lay down created orders; one that is there already is left as it is.
INSERT INTO billing.orders
    (id, number, project, conversation, status, version, lines, currency, total_minor, placed_at, updated_at, position)
SELECT id, number, project, conversation, status, version, lines, currency, total_minor, placed_at, placed_at, position
FROM jsonb_to_recordset(%s) AS new (
    id text, number text, project text, conversation text, status text, version integer, lines jsonb, currency text,
    total_minor bigint, placed_at timestamptz, position bigint
)
ON CONFLICT (id) DO NOTHING
