-- A page of orders, newest first.
SELECT o.*, i.id AS invoice_id, i.number AS invoice_number
FROM billing.orders AS o
LEFT JOIN billing.invoices AS i ON i.order_id = o.id
WHERE (%(project)s::text IS NULL OR o.project = %(project)s)
  AND (%(status)s::text IS NULL OR o.status = %(status)s)
  AND (%(client)s::text IS NULL OR o.client_id = %(client)s)
  AND (%(before)s::bigint IS NULL OR o.position < %(before)s)
ORDER BY o.position DESC
LIMIT %(limit)s
