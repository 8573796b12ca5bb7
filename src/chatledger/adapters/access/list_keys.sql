-- All keys, those in use first, each by its age.
SELECT prefix, name, scope, project, created_at, revoked_at, last_used_on
FROM access.api_keys ORDER BY revoked_at IS NOT NULL, created_at, hash
