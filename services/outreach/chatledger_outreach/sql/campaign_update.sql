-- Write what a campaign has become; a due_at of NULL leaves nothing to be done.
UPDATE outreach.campaigns
SET status = %(status)s, version = %(version)s, targeted = %(targeted)s, released = %(released)s,
    batches = %(batches)s, started_at = %(started_at)s, ended_at = %(ended_at)s, due_at = %(due_at)s
WHERE id = %(id)s
