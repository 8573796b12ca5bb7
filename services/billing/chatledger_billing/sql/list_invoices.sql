-- A page of invoices, newest first. `overdue_before` is a day: those that are not paid and were due before it.
SELECT i.*, coalesce(i.order_number, o.number) AS number_of_order
FROM billing.invoices AS i
LEFT JOIN billing.orders AS o ON o.id = i.order_id
WHERE (%(project)s::text IS NULL OR i.project = %(project)s)
  AND (%(status)s::text IS NULL OR i.status = %(status)s)
  AND (%(overdue_before)s::date IS NULL
       OR (i.status IN ('issued', 'partly_paid') AND i.due_on < %(overdue_before)s))
  AND (%(client)s::text IS NULL OR i.client_id = %(client)s)
  AND (%(before)s::bigint IS NULL OR i.position < %(before)s)
ORDER BY i.position DESC
LIMIT %(limit)s
