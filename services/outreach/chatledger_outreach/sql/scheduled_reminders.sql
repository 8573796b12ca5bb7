-- A client's reminders of one kind that are still to come; with `about`, those about it.
SELECT id
FROM outreach.reminders
WHERE conversation = %(conversation)s AND kind = %(kind)s AND status = 'scheduled'
    AND (%(about)s::text IS NULL OR about = %(about)s)
ORDER BY id
