-- Note how far a part of a campaign was told.
UPDATE outreach.campaign_parts SET next = next + %(count)s
WHERE campaign_id = %(campaign_id)s AND time_zone = %(time_zone)s
