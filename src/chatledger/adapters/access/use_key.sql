-- Whom a key in use stands for; notes the day of its first use on each day.
WITH used AS (
    UPDATE access.api_keys SET last_used_on = (now() AT TIME ZONE 'UTC')::date
    WHERE hash = %(hash)s AND revoked_at IS NULL
        AND last_used_on IS DISTINCT FROM (now() AT TIME ZONE 'UTC')::date
)
SELECT name, scope, project FROM access.api_keys WHERE hash = %(hash)s AND revoked_at IS NULL
