-- What is asked for every service alike. Parameters are psycopg's.

-- name: is_there
SELECT to_regclass(%s) IS NOT NULL

-- name: take_lock
SELECT pg_try_advisory_lock(hashtext(%s))

-- name: take_numbered_lock
SELECT pg_try_advisory_lock(hashtext(%s), %s)
