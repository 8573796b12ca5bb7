-- Clients by conversation or by client id, in every project or in one; a conversation first.
SELECT conversation
FROM outreach.clients
WHERE (conversation = %(id)s OR client_id = %(id)s) AND (%(project)s::text IS NULL OR project = %(project)s)
ORDER BY (conversation = %(id)s) DESC, conversation
LIMIT 2
