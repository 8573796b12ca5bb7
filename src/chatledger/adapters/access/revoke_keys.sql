-- Ends the keys in use that have this name or are shown by this prefix.
UPDATE access.api_keys SET revoked_at = now()
WHERE revoked_at IS NULL AND (name = %(which)s OR prefix = %(which)s)
RETURNING prefix, name, scope, project, created_at, revoked_at, last_used_on
