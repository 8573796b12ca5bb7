-- Move orders to a later status; an older version never comes back.
UPDATE billing.orders AS old
SET status = new.status, version = new.version, updated_at = new.updated_at
FROM jsonb_to_recordset(%s) AS new (id text, status text, version integer, updated_at timestamptz)
WHERE old.id = new.id AND old.version < new.version
