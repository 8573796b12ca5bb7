-- One campaign, in every project or in one.
SELECT * FROM outreach.campaigns WHERE id = %(id)s AND (%(project)s::text IS NULL OR project = %(project)s)
