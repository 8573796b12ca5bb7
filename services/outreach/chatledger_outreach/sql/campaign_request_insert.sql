-- Remember a request with a key; one that comes at the same time waits here, and then changes nothing.
INSERT INTO outreach.campaign_requests (project, key, digest, campaign_id)
VALUES (%(project)s, %(key)s, %(digest)s, %(campaign_id)s)
ON CONFLICT DO NOTHING
