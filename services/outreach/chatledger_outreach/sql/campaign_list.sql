-- A page of campaigns, newest first.
SELECT *
FROM outreach.campaigns
WHERE (%(project)s::text IS NULL OR project = %(project)s)
  AND (%(status)s::text IS NULL OR status = %(status)s)
  AND (%(before)s::bigint IS NULL OR number < %(before)s)
ORDER BY number DESC
LIMIT %(limit)s
