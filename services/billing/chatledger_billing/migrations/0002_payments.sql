-- Orders that move on, invoices that are paid, refunded and voided.
-- To lay down the read model again: empty billing.orders, billing.invoices and billing.relay, and start the service.
-- billing.reports is no part of it: what clients were told is not to be told again.

ALTER TABLE billing.orders
    ADD COLUMN client_id text,
    ADD COLUMN reason text,
    ADD COLUMN subtotal_minor bigint,
    ADD COLUMN discount_minor bigint,
    ADD COLUMN tax_minor bigint;
UPDATE billing.orders
SET client_id = substring(conversation FROM '^[^/]*/[^/]*/(.*)$'),
    subtotal_minor = total_minor,
    discount_minor = CASE WHEN total_minor IS NOT NULL THEN 0 END,
    tax_minor = CASE WHEN total_minor IS NOT NULL THEN 0 END;
ALTER TABLE billing.orders ALTER COLUMN client_id SET NOT NULL;
COMMENT ON COLUMN billing.orders.reason IS 'Why it was cancelled.';
CREATE INDEX orders_client ON billing.orders (client_id, position DESC);

ALTER TABLE billing.invoices
    ADD COLUMN client_id text,
    ADD COLUMN order_number text,
    ADD COLUMN tax_inclusive boolean NOT NULL DEFAULT false,
    ADD COLUMN subtotal_minor bigint,
    ADD COLUMN discounts jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN discount_minor bigint NOT NULL DEFAULT 0,
    ADD COLUMN taxes jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN tax_minor bigint NOT NULL DEFAULT 0,
    ADD COLUMN paid_minor bigint NOT NULL DEFAULT 0,
    ADD COLUMN payments jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN refunds jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN credit_note text,
    ADD COLUMN void_reason text,
    ADD COLUMN updated_at timestamptz,
    ADD COLUMN position bigint;
-- What is there was issued with its order, so the order's place in the log orders the pages as well.
UPDATE billing.invoices AS i
SET client_id = o.client_id, order_number = o.number, subtotal_minor = i.total_minor, updated_at = o.placed_at,
    position = o.position
FROM billing.orders AS o
WHERE o.id = i.order_id;
ALTER TABLE billing.invoices
    ALTER COLUMN client_id SET NOT NULL,
    ALTER COLUMN subtotal_minor SET NOT NULL,
    ALTER COLUMN updated_at SET NOT NULL,
    ALTER COLUMN position SET NOT NULL,
    ADD UNIQUE (position);
COMMENT ON COLUMN billing.invoices.order_number IS 'NULL where the event did not say it: then the order has it.';
COMMENT ON COLUMN billing.invoices.position IS 'Place of invoice.issued in the notification log: the order of pages.';
CREATE INDEX invoices_project ON billing.invoices (project, position DESC);
CREATE INDEX invoices_status ON billing.invoices (status, position DESC);
CREATE INDEX invoices_client ON billing.invoices (client_id, position DESC);
CREATE INDEX invoices_open ON billing.invoices (due_on) WHERE status IN ('issued', 'partly_paid');

CREATE TABLE billing.reports (
    name text PRIMARY KEY,
    position bigint NOT NULL
);
COMMENT ON TABLE billing.reports IS 'How far the notification log was reported to conversations, on chat.inbound.';
INSERT INTO billing.reports (name, position) SELECT 'chat.inbound', position FROM billing.relay;
