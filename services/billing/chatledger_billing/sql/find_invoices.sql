-- One invoice by id, or those with a number (each project counts its own), in every project or in one.
SELECT i.*, coalesce(i.order_number, o.number) AS number_of_order
FROM billing.invoices AS i
LEFT JOIN billing.orders AS o ON o.id = i.order_id
WHERE (i.id = %(id)s OR i.number = %(id)s) AND (%(project)s::text IS NULL OR i.project = %(project)s)
ORDER BY (i.id = %(id)s) DESC
LIMIT 2
