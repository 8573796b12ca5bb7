-- A page of reminders, newest first.
SELECT number, id, project, conversation, kind, about, text, due, status, reason, version, created_at, updated_at
FROM outreach.reminders
WHERE (%(project)s::text IS NULL OR project = %(project)s)
  AND (%(status)s::text IS NULL OR status = %(status)s)
  AND (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(before)s::bigint IS NULL OR number < %(before)s)
ORDER BY number DESC
LIMIT %(limit)s
