-- A reminder as its stream says. It has the number of its live row. Where that was lost, it has the first one after that
-- of the reminder before it which nobody has, or a new one. In quotes is the live table, where the other is being built.
INSERT INTO outreach.reminders
    (number, id, project, conversation, kind, about, text, due, status, reason, version, created_at, updated_at)
OVERRIDING SYSTEM VALUE
VALUES
    (coalesce(
         (SELECT number FROM "outreach".reminders WHERE id = %(id)s),
         (SELECT free.number
          FROM (SELECT generate_series(%(after)s::bigint + 1, %(last)s::bigint) AS number) AS free
          WHERE NOT EXISTS (SELECT FROM "outreach".reminders AS live WHERE live.number = free.number)
            AND NOT EXISTS (SELECT FROM outreach.reminders AS built WHERE built.number = free.number)
          LIMIT 1),
         nextval(pg_get_serial_sequence('"outreach".reminders', 'number'))
     ),
     %(id)s, %(project)s, %(conversation)s, %(kind)s, %(about)s, %(text)s, %(due)s, %(status)s, %(reason)s, %(version)s,
     %(created_at)s, %(updated_at)s)
ON CONFLICT (id) DO UPDATE
SET due = excluded.due, status = excluded.status, reason = excluded.reason, version = excluded.version,
    updated_at = excluded.updated_at
RETURNING number
