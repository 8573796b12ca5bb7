-- Takes a new key in. No row comes back where a key in use has the name already.
INSERT INTO access.api_keys (hash, prefix, name, scope, project)
VALUES (%(hash)s, %(prefix)s, %(name)s, %(scope)s, %(project)s)
ON CONFLICT DO NOTHING
RETURNING prefix, name, scope, project, created_at, revoked_at, last_used_on
