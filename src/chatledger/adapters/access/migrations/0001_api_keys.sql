-- The keys of the HTTP API. A key itself is nowhere: only its hash, by which it is found.

CREATE TABLE access.api_keys (
    hash text CONSTRAINT api_keys_hash PRIMARY KEY CHECK (length(hash) = 64),
    prefix text NOT NULL,
    name text NOT NULL,
    scope text NOT NULL CHECK (scope IN ('read', 'write', 'admin')),
    project text,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz,
    last_used_on date
);

-- Of two keys in use nobody should have to guess which one a name means; a revoked one gives its name free.
CREATE UNIQUE INDEX api_keys_name ON access.api_keys (name) WHERE revoked_at IS NULL;

COMMENT ON TABLE access.api_keys IS 'Who may use the HTTP API, and since when no longer.';
COMMENT ON COLUMN access.api_keys.hash IS 'SHA-256 of the key, in hex.';
COMMENT ON COLUMN access.api_keys.prefix IS 'The beginning of the key, to tell one from another in lists.';
COMMENT ON COLUMN access.api_keys.scope IS 'read, write (and read) or admin (and all).';
COMMENT ON COLUMN access.api_keys.project IS 'The only project that this key is for; null: all of them.';
COMMENT ON COLUMN access.api_keys.last_used_on IS 'The last day (UTC) on which somebody came with it; no finer, so that most uses write nothing.';
