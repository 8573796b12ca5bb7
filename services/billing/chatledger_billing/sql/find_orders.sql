-- One order by id, or those with a number (numbers are short, and might meet), in every project or in one.
SELECT o.id, o.number, o.project, o.conversation, o.status, o.lines, o.currency, o.total_minor, o.placed_at,
       o.updated_at, i.id AS invoice_id, i.number AS invoice_number
FROM billing.orders AS o
LEFT JOIN billing.invoices AS i ON i.order_id = o.id
WHERE (o.id = %(id)s OR o.number = %(id)s) AND (%(project)s::text IS NULL OR o.project = %(project)s)
ORDER BY (o.id = %(id)s) DESC, o.position DESC
LIMIT 2
