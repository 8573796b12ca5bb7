-- Note how orders stand; a cancelled one stays cancelled.
UPDATE outreach.orders AS known
SET status = new.status
FROM jsonb_to_recordset(%s) AS new (id text, status text)
WHERE known.id = new.id AND known.status <> 'cancelled'
