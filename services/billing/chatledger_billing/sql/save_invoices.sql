-- Lay down invoices; an older version never comes back over a newer one.
INSERT INTO billing.invoices AS old
    (id, number, project, client_id, order_id, order_number, conversation, status, version, lines, currency,
     tax_inclusive, subtotal_minor, discounts, discount_minor, taxes, tax_minor, total_minor, paid_minor, payments,
     refunds, credit_note, void_reason, issued_on, due_on, updated_at, position)
SELECT id, number, project, client_id, order_id, order_number, conversation, status, version, lines, currency,
       tax_inclusive, subtotal_minor, discounts, discount_minor, taxes, tax_minor, total_minor, paid_minor, payments,
       refunds, credit_note, void_reason, issued_on, due_on, updated_at, position
FROM jsonb_to_recordset(%s) AS new (
    id text, number text, project text, client_id text, order_id text, order_number text, conversation text,
    status text, version integer, lines jsonb, currency text, tax_inclusive boolean, subtotal_minor bigint,
    discounts jsonb, discount_minor bigint, taxes jsonb, tax_minor bigint, total_minor bigint, paid_minor bigint,
    payments jsonb, refunds jsonb, credit_note text, void_reason text, issued_on date, due_on date,
    updated_at timestamptz, position bigint
)
ON CONFLICT (id) DO UPDATE
SET status = excluded.status, version = excluded.version, paid_minor = excluded.paid_minor,
    payments = excluded.payments, refunds = excluded.refunds, credit_note = excluded.credit_note,
    void_reason = excluded.void_reason, updated_at = excluded.updated_at
WHERE old.version < excluded.version
