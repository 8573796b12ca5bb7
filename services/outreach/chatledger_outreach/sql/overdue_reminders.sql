-- Reminders of some projects that were due at a time and are still scheduled, the longest due first.
SELECT id
FROM outreach.reminders
WHERE status = 'scheduled' AND due <= %s AND project = ANY(%s)
ORDER BY due
LIMIT %s
