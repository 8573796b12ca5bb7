-- Move a reminder's row to what its stream says.
UPDATE outreach.reminders
SET due = %(due)s, status = %(status)s, reason = %(reason)s, version = %(version)s, updated_at = %(updated_at)s
WHERE id = %(id)s
