-- Which of these ids are there.
SELECT id FROM outreach.events WHERE id = ANY(%s)
