-- Note what a client wanted; once the client was told, no more.
INSERT INTO outreach.wishes (conversation, project, sku, in_stock, wished_at)
VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (conversation, sku) DO UPDATE
SET in_stock = excluded.in_stock, wished_at = excluded.wished_at
WHERE NOT wishes.told AND wishes.wished_at <= excluded.wished_at
