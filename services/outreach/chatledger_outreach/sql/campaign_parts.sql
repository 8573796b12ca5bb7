-- The time zones of a campaign in which there are clients who were not told, in the order of places.
SELECT time_zone, next, stop FROM outreach.campaign_parts WHERE campaign_id = %s AND next < stop ORDER BY next
