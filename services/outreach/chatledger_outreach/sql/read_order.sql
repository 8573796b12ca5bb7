-- The number of one order.
SELECT number FROM outreach.orders WHERE id = %s
