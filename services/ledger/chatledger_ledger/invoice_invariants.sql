-- I6, part by part; the queries answer as those of invariants.sql do.

-- name: invoices
-- An order with a price has one invoice, for the same lines and discounts; without a price it has none. What an older
-- version of an event does not have is null in a newer one, so nulls are left out of the comparison. Of an order that was
-- lost with its broker there is the invoice alone.
WITH orders AS (
    SELECT data ->> 'order_id' AS order_id, data ->> 'currency' AS currency,
           jsonb_strip_nulls(data -> 'lines') AS lines,
           jsonb_strip_nulls(coalesce(data -> 'discounts', '[]')) AS discounts,
           coalesce((data ->> 'tax_inclusive')::boolean, false) AS tax_inclusive
    FROM ledger.events
    WHERE type = 'order.placed'
), invoices AS (
    SELECT data ->> 'order_id' AS order_id, count(*) AS invoices, min(data ->> 'currency') AS currency,
           jsonb_strip_nulls((array_agg(data -> 'lines'))[1]) AS lines,
           jsonb_strip_nulls((array_agg(coalesce(data -> 'discounts', '[]')))[1]) AS discounts,
           bool_or(coalesce((data ->> 'tax_inclusive')::boolean, false)) AS tax_inclusive
    FROM ledger.events
    WHERE type = 'invoice.issued'
    GROUP BY 1
), lost_orders AS (
    SELECT created.data ->> 'order_id' AS order_id
    FROM ledger.events AS lost
    JOIN ledger.events AS created ON created.type = 'order.created'
                                     AND created.metadata ->> 'causationid' = lost.data ->> 'event_id'
    WHERE lost.type = 'record.lost'
), violations AS (
    SELECT order_id,
           CASE
               WHEN orders.order_id IS NULL THEN 'has an invoice and was never placed'
               WHEN orders.currency IS NULL THEN 'has no price and an invoice'
               WHEN invoices.order_id IS NULL THEN 'has a price and no invoice'
               WHEN invoices.invoices > 1 THEN 'has ' || invoices.invoices || ' invoices'
               WHEN invoices.discounts <> orders.discounts OR invoices.tax_inclusive <> orders.tax_inclusive
                   THEN 'has an invoice with other discounts, or other terms of tax'
               ELSE 'has an invoice for other lines or in another currency'
           END AS complaint
    FROM orders
    FULL JOIN invoices USING (order_id)
    WHERE (orders.order_id IS NULL AND order_id <> ALL (SELECT lost_orders.order_id FROM lost_orders))
          OR (orders.order_id IS NOT NULL AND (orders.currency IS NULL) <> (invoices.order_id IS NULL))
          OR invoices.invoices > 1
          OR invoices.lines <> orders.lines
          OR invoices.currency <> orders.currency
          OR invoices.discounts <> orders.discounts
          OR invoices.tax_inclusive <> orders.tax_inclusive
    ORDER BY order_id
)
SELECT (SELECT count(*) FROM orders), count(*),
       coalesce((array_agg('order ' || order_id || ' ' || complaint))[1:10], '{}')
FROM violations

-- name: invoice_sums
-- In minor units: the subtotal is the sum of the lines, the tax the sum of the taxes, the total the subtotal less the
-- discount, and the tax on top where prices do not contain it. Version 1 has a total alone.
WITH invoices AS (
    SELECT data ->> 'number' AS number, data ->> 'project' AS project,
           (data ->> 'total_minor')::numeric AS total,
           coalesce(data ->> 'subtotal_minor', data ->> 'total_minor')::numeric AS subtotal,
           data ->> 'subtotal_minor' IS NULL AS has_total_alone,
           coalesce((data ->> 'discount_minor')::numeric, 0) AS discount,
           coalesce((data ->> 'tax_minor')::numeric, 0) AS tax,
           CASE WHEN (data ->> 'tax_inclusive')::boolean THEN 0 ELSE coalesce((data ->> 'tax_minor')::numeric, 0) END
               AS tax_on_top,
           (SELECT sum((line ->> 'quantity')::numeric * (line ->> 'unit_price_minor')::numeric)
            FROM jsonb_array_elements(data -> 'lines') AS line) AS sum,
           (SELECT coalesce(sum((each ->> 'tax_minor')::numeric), 0)
            FROM jsonb_array_elements(coalesce(data -> 'taxes', '[]')) AS each) AS taxes
    FROM ledger.events
    WHERE type = 'invoice.issued'
), violations AS (
    SELECT project, number,
           CASE
               WHEN subtotal IS DISTINCT FROM sum AND has_total_alone
                   THEN format('total %%s, sum of its lines %%s', total, sum)
               WHEN subtotal IS DISTINCT FROM sum THEN format('subtotal %%s, sum of its lines %%s', subtotal, sum)
               WHEN tax <> taxes THEN format('tax %%s, sum of its taxes %%s', tax, taxes)
               WHEN discount NOT BETWEEN 0 AND subtotal THEN format('discount %%s of %%s', discount, subtotal)
               ELSE format('total %%s, and %%s - %%s + %%s is another', total, subtotal, discount, tax_on_top)
           END AS complaint
    FROM invoices
    WHERE subtotal IS DISTINCT FROM sum
          OR tax <> taxes
          OR discount NOT BETWEEN 0 AND subtotal
          OR total <> subtotal - discount + tax_on_top
    ORDER BY project, number
)
SELECT (SELECT count(*) FROM invoices), count(*),
       coalesce((array_agg(format('invoice %%s of %%s: %%s', number, project, complaint)))[1:10], '{}')
FROM violations

-- name: invoice_taxes
-- Each tax is what its rate, in basis points, makes of its base: rounded half up, on top of it or within the two.
WITH taxes AS (
    SELECT data ->> 'number' AS number, data ->> 'project' AS project,
           (each ->> 'rate_bp')::numeric AS rate, (each ->> 'base_minor')::numeric AS base,
           (each ->> 'tax_minor')::numeric AS tax, (data ->> 'tax_inclusive')::boolean AS is_within
    FROM ledger.events
    CROSS JOIN jsonb_array_elements(coalesce(data -> 'taxes', '[]')) AS each
    WHERE type = 'invoice.issued'
), computed AS (
    SELECT *, CASE WHEN is_within THEN round((base + tax) * rate / (10000 + rate)) ELSE round(base * rate / 10000) END
                  AS expected
    FROM taxes
), violations AS (
    SELECT * FROM computed WHERE tax <> expected ORDER BY project, number
)
SELECT (SELECT count(*) FROM taxes), count(*),
       coalesce((array_agg(format('invoice %%s of %%s: tax %%s at %%s basis points, %%s is right', number, project, tax,
                                  rate, expected)))[1:10], '{}')
FROM violations

-- name: invoice_numbers
-- Within a project and a year the invoices are numbered 1, 2, 3 and so on, and so are the credit notes.
WITH documents AS (
    SELECT 'invoice' AS kind, data ->> 'project' AS project, left(data ->> 'issued_on', 4) AS year,
           data ->> 'number' AS number
    FROM ledger.events
    WHERE type = 'invoice.issued'
    UNION ALL
    SELECT 'credit note', split_part(metadata ->> 'conversation', '/', 1),
           substring(data ->> 'credit_note' FROM '([0-9]{4})-[0-9]+$'), data ->> 'credit_note'
    FROM ledger.events
    WHERE type = 'invoice.voided'
), numbered AS (
    SELECT *, row_number() OVER (PARTITION BY kind, project, year ORDER BY counted, number) AS expected
    FROM documents
    CROSS JOIN LATERAL (SELECT substring(number FROM '[0-9]+$')::numeric AS counted) AS ending
), violations AS (
    SELECT DISTINCT ON (kind, project, year) *
    FROM numbered
    WHERE counted IS DISTINCT FROM expected
    ORDER BY kind DESC, project, year, expected
)
SELECT (SELECT count(*) FROM documents), count(*),
       coalesce((array_agg(format('project %%s, year %%s: %%s %%s where number %%s should be', project, year, kind,
                                  number, expected)))[1:10], '{}')
FROM violations

-- name: payments
-- After each event of an invoice between nothing and its total is paid; `paid` says so at the total; each reference
-- stands once; a void invoice takes no money, and is void once.
WITH invoices AS (
    SELECT data ->> 'invoice_id' AS invoice_id, min((data ->> 'total_minor')::numeric) AS total
    FROM ledger.events
    WHERE type = 'invoice.issued'
    GROUP BY 1
), moves AS (
    SELECT position, stream, version, type, data ->> 'invoice_id' AS invoice_id, data ->> 'reference' AS reference,
           (data ->> 'amount_minor')::numeric AS amount,
           CASE type WHEN 'payment.recorded' THEN (data ->> 'amount_minor')::numeric
                     WHEN 'payment.refunded' THEN -(data ->> 'amount_minor')::numeric
                     ELSE 0 END AS change
    FROM ledger.events
    WHERE type IN ('payment.recorded', 'payment.refunded', 'invoice.paid', 'invoice.voided')
), running AS (
    SELECT *,
           sum(change) OVER before_and_this AS paid,
           count(*) FILTER (WHERE type = 'invoice.voided') OVER before_and_this AS voided,
           row_number() OVER (PARTITION BY stream, reference ORDER BY version, position) AS uses
    FROM moves
    WINDOW before_and_this AS (PARTITION BY stream ORDER BY version, position ROWS UNBOUNDED PRECEDING)
), judged AS (
    SELECT running.*,
           CASE
               WHEN total IS NULL THEN 'was never issued'
               WHEN amount <= 0 THEN format('%%s of %%s', type, amount)
               WHEN paid < 0 OR paid > total THEN format('%%s of %%s is paid', paid, total)
               WHEN reference IS NOT NULL AND uses > 1 THEN format('the reference %%s stands twice', reference)
               WHEN type = 'invoice.paid' AND paid <> total THEN format('it is called paid at %%s of %%s', paid, total)
               WHEN voided > 1 OR (voided = 1 AND type IN ('payment.recorded', 'invoice.paid'))
                   THEN format('%%s when it was void', type)
           END AS complaint
    FROM running
    LEFT JOIN invoices USING (invoice_id)
), violations AS (
    SELECT * FROM judged WHERE complaint IS NOT NULL ORDER BY position
)
SELECT (SELECT count(*) FROM moves), count(*),
       coalesce((array_agg(format('%%s at position %%s: %%s', stream, position, complaint)))[1:10], '{}')
FROM violations

-- name: cancelled_orders
-- The invoice of an order that billing cancelled is voided.
WITH cancelled AS (
    SELECT DISTINCT data ->> 'order_id' AS order_id
    FROM ledger.events
    WHERE type = 'order.cancelled' AND data ->> 'order_id' IS NOT NULL
), violations AS (
    SELECT issued.data ->> 'number' AS number, order_id
    FROM cancelled
    JOIN ledger.events AS issued ON issued.type = 'invoice.issued' AND issued.data ->> 'order_id' = order_id
    LEFT JOIN ledger.events AS voided ON voided.type = 'invoice.voided'
                                         AND voided.data ->> 'invoice_id' = issued.data ->> 'invoice_id'
    WHERE voided.id IS NULL
    ORDER BY number, order_id
)
SELECT (SELECT count(*) FROM cancelled), count(*),
       coalesce((array_agg(format('order %%s was cancelled and its invoice %%s is not voided', order_id,
                                  number)))[1:10], '{}')
FROM violations
