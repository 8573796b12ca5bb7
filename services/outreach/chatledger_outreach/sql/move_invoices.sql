-- Note which invoices are paid or void.
UPDATE outreach.invoices AS known
SET status = new.status
FROM jsonb_to_recordset(%s) AS new (id text, status text)
WHERE known.id = new.id
