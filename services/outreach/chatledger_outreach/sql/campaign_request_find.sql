-- Which campaign a request with this key was about, and what it asked for.
SELECT campaign_id, digest FROM outreach.campaign_requests WHERE project = %(project)s AND key = %(key)s
