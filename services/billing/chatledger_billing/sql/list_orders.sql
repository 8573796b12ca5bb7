-- A page of orders, newest first.
SELECT o.id, o.number, o.project, o.conversation, o.status, o.lines, o.currency, o.total_minor, o.placed_at,
       o.updated_at, o.position, i.id AS invoice_id, i.number AS invoice_number
FROM billing.orders AS o
LEFT JOIN billing.invoices AS i ON i.order_id = o.id
WHERE (%(project)s::text IS NULL OR o.project = %(project)s)
  AND (%(status)s::text IS NULL OR o.status = %(status)s)
  AND (%(before)s::bigint IS NULL OR o.position < %(before)s)
ORDER BY o.position DESC
LIMIT %(limit)s
