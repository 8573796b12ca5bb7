-- The ledger: one append-only table of every event, and how far each topic was recorded.

CREATE TABLE ledger.events (
    position bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT events_position PRIMARY KEY,
    id uuid NOT NULL CONSTRAINT events_id UNIQUE,
    stream text NOT NULL,
    version int,
    type text NOT NULL,
    data jsonb NOT NULL,
    metadata jsonb NOT NULL,
    occurred_at timestamptz NOT NULL,
    -- The time of the inserting statement. It comes after the lock that writers wait for, so it rises with position;
    -- the time of the transaction would not, because it is taken before the wait.
    recorded_at timestamptz NOT NULL DEFAULT statement_timestamp(),
    topic text NOT NULL,
    partition int NOT NULL,
    source_offset bigint NOT NULL,
    -- Also the way to a stream: events without a version are in it too.
    CONSTRAINT events_stream_version UNIQUE (stream, version)
);

-- Rows lie in the order of their recording, so the least and greatest time of each few pages is index enough.
CREATE INDEX events_recorded_at ON ledger.events USING brin (recorded_at) WITH (pages_per_range = 16, autosummarize = on);

COMMENT ON TABLE ledger.events IS 'Every event, in commit order. Append-only: see the trigger events_append_only.';
COMMENT ON COLUMN ledger.events.position IS 'The place in history. Rises in commit order; a number may be missing.';
COMMENT ON COLUMN ledger.events.id IS 'The event id, derived from its cause: the same event twice has the same id.';
COMMENT ON COLUMN ledger.events.stream IS 'What the event is about: conversation-<id>, order-<id>, invoice-<id>, delivery-<id>.';
COMMENT ON COLUMN ledger.events.version IS 'Counts 1..n in a stream whose owner decides; null for what came from outside.';
COMMENT ON COLUMN ledger.events.type IS 'What happened, such as order.placed.';
COMMENT ON COLUMN ledger.events.data IS 'The event''s own fields, at the schema version in metadata.';
COMMENT ON COLUMN ledger.events.metadata IS 'source, conversation, schemaversion, correlationid, causationid, traceparent.';
COMMENT ON COLUMN ledger.events.occurred_at IS 'When it happened, as its source says.';
COMMENT ON COLUMN ledger.events.recorded_at IS 'When it was recorded here: "at a time" means by this column.';
COMMENT ON COLUMN ledger.events.topic IS 'The topic it was read from; chat.dead for what could not be recorded as it was.';
COMMENT ON COLUMN ledger.events.partition IS 'The partition it was read from.';
COMMENT ON COLUMN ledger.events.source_offset IS 'The offset it was read from.';

CREATE TABLE ledger.positions (
    incarnation text NOT NULL,
    topic text NOT NULL,
    partition int NOT NULL,
    next_offset bigint NOT NULL,
    CONSTRAINT positions_partition PRIMARY KEY (incarnation, topic, partition)
);

COMMENT ON TABLE ledger.positions IS 'The next offset to record, by partition and life of the broker (its cluster id).';

-- Mistakes by the owner stop here; everybody else has no right to these statements in the first place.
CREATE FUNCTION ledger.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'ledger.events is append-only: % is refused', TG_OP
        USING ERRCODE = 'insufficient_privilege',
              HINT = 'Record a new event that corrects the old one. To start afresh, use another database.';
END
$$;

CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.events
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();

CREATE FUNCTION ledger.refuse_step_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the position of %/% cannot go back from % to %',
        OLD.topic, OLD.partition, OLD.next_offset, NEW.next_offset
        USING ERRCODE = 'insufficient_privilege',
              HINT = 'A broker that was set up anew has another incarnation, and so positions of its own.';
END
$$;

CREATE TRIGGER positions_never_go_back BEFORE UPDATE ON ledger.positions
    FOR EACH ROW WHEN (NEW.next_offset < OLD.next_offset) EXECUTE FUNCTION ledger.refuse_step_back();

-- Roles belong to the whole server: another database's migration may make the same ones at this moment. Who loses that
-- race waits for the winner and then finds the role there.
DO $$
DECLARE
    wanted text;
    -- Since Postgres 16 whoever makes a role is a member of it that may not take it on.
    enough text := CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['chatledger_recorder', 'chatledger_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;
            END;
        END IF;
        -- A superuser may take on every role already.
        IF NOT pg_has_role(current_user, wanted, enough) THEN
            BEGIN
                EXECUTE format('GRANT %I TO CURRENT_USER', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;
            END;
        END IF;
    END LOOP;
END
$$;

GRANT USAGE ON SCHEMA ledger TO chatledger_recorder, chatledger_reader;
GRANT SELECT ON ledger.events, ledger.positions TO chatledger_recorder, chatledger_reader;
-- By column: whoever may insert the whole row can forge its position (OVERRIDING SYSTEM VALUE) and its recorded time.
GRANT INSERT (id, stream, version, type, data, metadata, occurred_at, topic, partition, source_offset)
    ON ledger.events TO chatledger_recorder;
GRANT INSERT, UPDATE (next_offset) ON ledger.positions TO chatledger_recorder;
