-- Campaigns that should have started, or released their next batch, by a time.
SELECT id, status, batches
FROM outreach.campaigns
WHERE status IN ('scheduled', 'running') AND due_at <= %s
ORDER BY due_at
LIMIT 100
