-- One order by id, or those with a number (numbers are short, and might meet), in every project or in one.
SELECT o.*, i.id AS invoice_id, i.number AS invoice_number
FROM billing.orders AS o
LEFT JOIN billing.invoices AS i ON i.order_id = o.id
WHERE (o.id = %(id)s OR o.number = %(id)s) AND (%(project)s::text IS NULL OR o.project = %(project)s)
ORDER BY (o.id = %(id)s) DESC, o.position DESC
LIMIT 2
