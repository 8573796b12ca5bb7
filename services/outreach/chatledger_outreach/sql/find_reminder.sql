-- One reminder, in every project or in one.
SELECT id, project, conversation, kind, about, text, due, status, reason, version, created_at, updated_at
FROM outreach.reminders
WHERE id = %(id)s AND (%(project)s::text IS NULL OR project = %(project)s)
