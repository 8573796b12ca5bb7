-- Note that the broker has these events.
UPDATE outreach.events SET published_at = now() WHERE position = ANY(%s)
