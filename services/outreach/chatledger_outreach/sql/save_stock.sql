-- Note how much there is of a product, unless something newer is known.
INSERT INTO outreach.stock (project, sku, in_stock, known_at)
VALUES (%s, %s, %s, %s)
ON CONFLICT (project, sku) DO UPDATE
SET in_stock = excluded.in_stock, known_at = excluded.known_at
WHERE stock.known_at <= excluded.known_at
