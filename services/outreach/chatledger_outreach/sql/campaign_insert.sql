-- Lay down a new campaign.
INSERT INTO outreach.campaigns
    (id, project, name, kind, message, audience, content_sid, content_variables, rate_per_s, batch_size, scheduled_for,
     status, version, created_at, due_at)
VALUES
    (%(id)s, %(project)s, %(name)s, %(kind)s, %(message)s, %(audience)s, %(content_sid)s, %(content_variables)s,
     %(rate_per_s)s, %(batch_size)s, %(scheduled_for)s, %(status)s, %(version)s, %(created_at)s, %(due_at)s)
