-- Invoices by id or by number, in every project or in one; an id first.
SELECT id, conversation
FROM outreach.invoices
WHERE (id = %(id)s OR number = %(id)s) AND (%(project)s::text IS NULL OR project = %(project)s)
ORDER BY (id = %(id)s) DESC
LIMIT 2
