-- Lay down orders; an older version never comes back over a newer one.
INSERT INTO billing.orders AS old
    (id, number, project, client_id, conversation, status, reason, version, lines, currency, subtotal_minor,
     discount_minor, tax_minor, total_minor, placed_at, updated_at, position)
SELECT id, number, project, client_id, conversation, status, reason, version, lines, currency, subtotal_minor,
       discount_minor, tax_minor, total_minor, placed_at, updated_at, position
FROM jsonb_to_recordset(%s) AS new (
    id text, number text, project text, client_id text, conversation text, status text, reason text, version integer,
    lines jsonb, currency text, subtotal_minor bigint, discount_minor bigint, tax_minor bigint, total_minor bigint,
    placed_at timestamptz, updated_at timestamptz, position bigint
)
ON CONFLICT (id) DO UPDATE
SET status = excluded.status, reason = excluded.reason, version = excluded.version, lines = excluded.lines,
    subtotal_minor = excluded.subtotal_minor, discount_minor = excluded.discount_minor,
    tax_minor = excluded.tax_minor, total_minor = excluded.total_minor, updated_at = excluded.updated_at
WHERE old.version < excluded.version
