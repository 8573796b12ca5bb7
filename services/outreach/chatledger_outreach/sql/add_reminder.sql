-- Make a reminder's row; one that is there already is left as it is.
INSERT INTO outreach.reminders
    (id, project, conversation, kind, about, text, due, status, reason, version, created_at, updated_at)
VALUES
    (%(id)s, %(project)s, %(conversation)s, %(kind)s, %(about)s, %(text)s, %(due)s, %(status)s, %(reason)s, %(version)s,
     %(created_at)s, %(updated_at)s)
ON CONFLICT (id) DO NOTHING
RETURNING id
