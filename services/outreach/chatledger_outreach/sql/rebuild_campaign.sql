-- A campaign as its stream says, with a number as reminders have it. In quotes is the live table, where the other is
-- being built.
INSERT INTO outreach.campaigns
    (number, id, project, name, kind, message, audience, content_sid, content_variables, rate_per_s, batch_size,
     scheduled_for, status, version, targeted, released, batches, created_at, started_at, ended_at, due_at)
OVERRIDING SYSTEM VALUE
VALUES
    (coalesce(
         (SELECT number FROM "outreach".campaigns WHERE id = %(id)s),
         (SELECT free.number
          FROM (SELECT generate_series(%(after)s::bigint + 1, %(last)s::bigint) AS number) AS free
          WHERE NOT EXISTS (SELECT FROM "outreach".campaigns AS live WHERE live.number = free.number)
            AND NOT EXISTS (SELECT FROM outreach.campaigns AS built WHERE built.number = free.number)
          LIMIT 1),
         nextval(pg_get_serial_sequence('"outreach".campaigns', 'number'))
     ),
     %(id)s, %(project)s, %(name)s, %(kind)s, %(message)s, %(audience)s, %(content_sid)s, %(content_variables)s,
     %(rate_per_s)s, %(batch_size)s, %(scheduled_for)s, %(status)s, %(version)s, %(targeted)s, %(released)s,
     %(batches)s, %(created_at)s, %(started_at)s, %(ended_at)s, %(due_at)s)
ON CONFLICT (id) DO UPDATE
SET status = excluded.status, version = excluded.version, targeted = excluded.targeted, released = excluded.released,
    batches = excluded.batches, started_at = excluded.started_at, ended_at = excluded.ended_at,
    due_at = excluded.due_at
RETURNING number
