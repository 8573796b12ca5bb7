-- What was put back on the topics of a broker that was new: which part of history has which offsets there. With it a row
-- of ledger.events that was read from one broker can be found on the next.

CREATE TABLE ledger.restores (
    incarnation text NOT NULL,
    topic text NOT NULL,
    partition int NOT NULL,
    -- The offset of the first event that was put back.
    first_offset bigint NOT NULL,
    after_position bigint NOT NULL,
    until_position bigint NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    refilled_at timestamptz,
    finished_at timestamptz,
    CONSTRAINT restores_partition PRIMARY KEY (incarnation, topic, partition)
);

COMMENT ON TABLE ledger.restores IS
    'What was put back on a broker, by partition: the events of history after after_position up to until_position.';
COMMENT ON COLUMN ledger.restores.incarnation IS 'The life of the broker that it was put on.';
COMMENT ON COLUMN ledger.restores.refilled_at IS 'When the last of them was there.';
COMMENT ON COLUMN ledger.restores.finished_at IS 'When every service''s position was set; NULL: it was begun, and is to be gone on with.';

GRANT SELECT ON ledger.restores TO chatledger_recorder, chatledger_reader;
