-- Let nobody else decide about a reminder until the transaction ends.
SELECT id FROM outreach.reminders WHERE id = %s FOR UPDATE
