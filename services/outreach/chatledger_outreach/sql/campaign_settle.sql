-- Settle whom a campaign is for, each client once: those of a list, or, where there is none, those who meet every
-- condition. Places follow time zones, where these matter. Returns how many clients there are.
WITH chosen AS (
    SELECT conversation, CASE WHEN %(by_zone)s THEN time_zone ELSE '' END AS zone
    FROM outreach.clients
    WHERE %(conversations)s::text[] IS NULL
      AND project = %(project)s
      AND NOT (%(promotional)s AND opted_out)
      AND (%(orders_min)s::int IS NULL OR orders >= %(orders_min)s)
      AND (%(orders_max)s::int IS NULL OR orders <= %(orders_max)s)
      AND (%(spend_minor_min)s::bigint IS NULL OR spend_minor >= %(spend_minor_min)s)
      AND (%(spend_minor_max)s::bigint IS NULL OR spend_minor <= %(spend_minor_max)s)
      AND (%(last_order_after)s::timestamptz IS NULL OR last_order_at > %(last_order_after)s)
      AND (%(last_order_before)s::timestamptz IS NULL OR last_order_at < %(last_order_before)s)
      AND (cardinality(%(tags_any)s::text[]) = 0 OR tags && %(tags_any)s)
      AND tags @> %(tags_all)s::text[]
      AND (cardinality(%(languages)s::text[]) = 0 OR language = ANY(%(languages)s))
    UNION ALL
    SELECT named.conversation, CASE WHEN %(by_zone)s THEN COALESCE(known.time_zone, named.time_zone) ELSE '' END
    FROM unnest(%(conversations)s::text[], %(time_zones)s::text[]) AS named (conversation, time_zone)
    LEFT JOIN outreach.clients AS known ON known.conversation = named.conversation
    WHERE NOT (%(promotional)s AND COALESCE(known.opted_out, false))
), settled AS (
    INSERT INTO outreach.campaign_targets (campaign_id, place, conversation)
    SELECT %(campaign_id)s, row_number() OVER (ORDER BY zone, conversation) - 1, conversation
    FROM chosen
), parted AS (
    INSERT INTO outreach.campaign_parts (campaign_id, time_zone, next, stop)
    SELECT %(campaign_id)s, zone, sum(clients) OVER (ORDER BY zone) - clients, sum(clients) OVER (ORDER BY zone)
    FROM (SELECT zone, count(*) AS clients FROM chosen GROUP BY zone) AS counted
)
SELECT count(*) FROM chosen
