-- The clients who wanted more of a product than there was, and of which there is more since; each only once.
UPDATE outreach.wishes AS wish
SET told = true
FROM outreach.stock AS stock
WHERE wish.project = %s AND wish.sku = %s AND NOT wish.told
    AND stock.project = wish.project AND stock.sku = wish.sku
    AND stock.known_at > wish.wished_at AND stock.in_stock > wish.in_stock
RETURNING wish.conversation
