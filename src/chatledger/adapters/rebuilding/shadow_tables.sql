-- What is asked to build tables beside the live ones and to put them in their place. Parameters are psycopg's.

-- name: lock
-- One rebuild at a time, for as long as the connection lives.
SELECT pg_try_advisory_lock(hashtext('chatledger rebuild'))

-- name: migrations_stand_still
-- Nobody changes tables until the end of the transaction; false where somebody is at it.
SELECT pg_try_advisory_xact_lock(hashtext('chatledger migrations'))

-- name: missing
-- Which of the tables are not there.
SELECT name FROM unnest(%(tables)s::text[]) AS wanted (name) WHERE to_regclass(name) IS NULL

-- name: hindrances
-- What holds on to a table and would be lost with it, a sentence each.
SELECT DISTINCT format('the view %%s reads %%s', reader.oid::regclass, used.refobjid::regclass)
FROM pg_depend AS used
JOIN pg_rewrite AS rule ON used.classid = 'pg_rewrite'::regclass AND rule.oid = used.objid
JOIN pg_class AS reader ON reader.oid = rule.ev_class
WHERE used.refclassid = 'pg_class'::regclass AND used.refobjid = ANY(%(tables)s::regclass[])
UNION ALL
SELECT format('the table %%s has a foreign key on %%s', conrelid::regclass, confrelid::regclass)
FROM pg_constraint
WHERE contype = 'f' AND (confrelid = ANY(%(tables)s::regclass[]) OR conrelid = ANY(%(tables)s::regclass[]))
UNION ALL
SELECT format('the trigger %%s is on %%s', tgname, tgrelid::regclass)
FROM pg_trigger
WHERE NOT tgisinternal AND tgrelid = ANY(%(tables)s::regclass[])
UNION ALL
SELECT format('the policy %%s is on %%s', polname, polrelid::regclass)
FROM pg_policy
WHERE polrelid = ANY(%(tables)s::regclass[])
UNION ALL
SELECT format('the publication %%s has %%s', pubname, prrelid::regclass)
FROM pg_publication_rel JOIN pg_publication ON pg_publication.oid = prpubid
WHERE prrelid = ANY(%(tables)s::regclass[])

-- name: likeness
-- What makes a table that was made LIKE a live one the same as that, names and rights included: one statement a row.
WITH live AS (
    SELECT pg_class.oid, relname, relacl, relowner, reloptions, nspname,
           format('%%I.%%I', %(schema)s::text, relname) AS built
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE pg_class.oid = %(table)s::regclass
), granted AS (
    SELECT built, each.privilege_type, '' AS columns, each.grantee, each.is_grantable
    FROM live, aclexplode(relacl) AS each
    UNION ALL
    SELECT built, each.privilege_type, format(' (%%I)', attname), each.grantee, each.is_grantable
    FROM live JOIN pg_attribute ON attrelid = live.oid, aclexplode(attacl) AS each
)
SELECT format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', built, conname, pg_get_constraintdef(pg_constraint.oid))
FROM live JOIN pg_constraint ON conrelid = live.oid
WHERE contype IN ('p', 'u', 'x')
UNION ALL
SELECT replace(pg_get_indexdef(indexrelid), format(' ON %%I.%%I ', nspname, relname), format(' ON %%s ', built))
FROM live JOIN pg_index ON indrelid = live.oid
WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
UNION ALL
SELECT format('COMMENT ON TABLE %%s IS %%L', built, obj_description(oid, 'pg_class'))
FROM live
WHERE obj_description(oid, 'pg_class') IS NOT NULL
UNION ALL
SELECT format('ALTER TABLE %%s SET (%%s)', built, array_to_string(reloptions, ', '))
FROM live
WHERE reloptions IS NOT NULL
UNION ALL
SELECT format('ALTER TABLE %%s OWNER TO %%I', built, pg_get_userbyid(relowner))
FROM live
WHERE pg_get_userbyid(relowner) <> current_user
UNION ALL
SELECT format('GRANT %%s%%s ON %%s TO %%s%%s', privilege_type, columns, built,
              CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
              CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM granted

-- name: primary_key
-- The columns of a table's primary key.
SELECT attname
FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY(indkey)
WHERE indrelid = %(table)s::regclass AND indisprimary
ORDER BY array_position(indkey::int2[], attnum)

-- name: sequences
-- The live sequence and the built one of each column that numbers its rows.
SELECT pg_get_serial_sequence(%(live)s, attname), pg_get_serial_sequence(%(built)s, attname)
FROM pg_attribute
WHERE attrelid = %(live)s::regclass AND attidentity <> '' AND NOT attisdropped

-- name: put_aside
-- Whether a service could not process this event: then there is a dead letter that it caused.
SELECT EXISTS (
    SELECT FROM ledger.events
    WHERE type = 'record.dead_lettered' AND metadata ->> 'causationid' = %(event)s AND data ->> 'service' = %(service)s
)

-- name: compare
-- How many rows are not the same, and the first of them; a table without any has one row of nulls. Rows are compared as
-- JSON, so that columns of every type are. Names in braces are filled in.
WITH live AS (
    SELECT ARRAY[{key}] AS key, to_jsonb(each) - {kept}::text[] AS content FROM {live} AS each WHERE {compared}
), built AS (
    SELECT ARRAY[{key}] AS key, to_jsonb(each) - {kept}::text[] AS content FROM {built} AS each WHERE {compared}
), differing AS (
    SELECT coalesce(live.key, built.key) AS key, live.content AS live, built.content AS built
    FROM live FULL JOIN built ON live.key = built.key
    WHERE live.content IS DISTINCT FROM built.content
)
SELECT counted.differences, differing.key,
       CASE WHEN live IS NULL THEN 'missing' WHEN built IS NULL THEN 'needless' ELSE 'different' END,
       CASE WHEN live IS NOT NULL AND built IS NOT NULL THEN ARRAY(
           SELECT name FROM jsonb_object_keys(built) AS name WHERE live -> name IS DISTINCT FROM built -> name ORDER BY name
       ) END
FROM (SELECT count(*) AS differences FROM differing) AS counted
LEFT JOIN differing ON true
ORDER BY differing.key
LIMIT {limit}
