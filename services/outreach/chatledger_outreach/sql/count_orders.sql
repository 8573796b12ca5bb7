-- Count the orders of some clients anew, without the cancelled ones. Spend is in the currency of the newest order.
UPDATE outreach.clients AS client
SET orders = counted.orders, spend_minor = counted.spend_minor, currency = counted.currency,
    last_order_at = counted.last_order_at
FROM (
    SELECT of_client.conversation, count(known.id) AS orders, max(known.created_at) AS last_order_at, newest.currency,
           coalesce(sum(known.total_minor) FILTER (WHERE known.currency = newest.currency), 0) AS spend_minor
    FROM unnest(%s::text[]) AS of_client (conversation)
    LEFT JOIN outreach.orders AS known
        ON known.conversation = of_client.conversation AND known.status <> 'cancelled'
    LEFT JOIN LATERAL (
        SELECT priced.currency
        FROM outreach.orders AS priced
        WHERE priced.conversation = of_client.conversation AND priced.status <> 'cancelled'
            AND priced.currency IS NOT NULL
        ORDER BY priced.created_at DESC
        LIMIT 1
    ) AS newest ON true
    GROUP BY of_client.conversation, newest.currency
) AS counted
WHERE client.conversation = counted.conversation
