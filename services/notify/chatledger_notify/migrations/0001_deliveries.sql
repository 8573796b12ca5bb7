-- Deliveries, one row per reply.requested, and timers, one row per conversation and kind.

CREATE TABLE notify.positions (
    incarnation text NOT NULL,
    topic text NOT NULL,
    partition int NOT NULL,
    next_offset bigint NOT NULL,
    PRIMARY KEY (incarnation, topic, partition)
);

CREATE TABLE notify.deliveries (
    -- The id of the event that asked for it, and the idempotency key of every try.
    id text COLLATE "C" PRIMARY KEY,
    -- The order of arrival, and so the order in which a client's messages are sent.
    sequence bigint GENERATED ALWAYS AS IDENTITY,
    conversation text COLLATE "C" NOT NULL,
    project text GENERATED ALWAYS AS (split_part(conversation, '/', 1)) STORED,
    channel text NOT NULL,
    -- The partition of chat.dialog: whoever holds its lock sends. A conversation's is the same in each incarnation.
    partition int NOT NULL,
    -- The event's own JSON. Text, because json types refuse characters that a client may have sent.
    reply text NOT NULL,
    reply_version int NOT NULL,
    requested_at timestamptz NOT NULL,
    correlation_id text NOT NULL,
    traceparent text,
    status text NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'sent', 'failed')),
    attempts int NOT NULL DEFAULT 0,
    -- NULL: at once.
    next_attempt_at timestamptz,
    provider_message_id text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT '',
    http_status int,
    -- The time of the outcome's event, fixed here so that publishing it again gives the same event.
    ended_at timestamptz,
    published_at timestamptz,
    CHECK ((status = 'waiting') = (ended_at IS NULL))
);

CREATE INDEX deliveries_waiting ON notify.deliveries (partition, conversation, sequence) WHERE status = 'waiting';
CREATE INDEX deliveries_unpublished ON notify.deliveries (partition)
    WHERE status <> 'waiting' AND published_at IS NULL;

CREATE TABLE notify.timers (
    conversation text COLLATE "C" NOT NULL,
    kind text NOT NULL,
    due timestamptz NOT NULL,
    -- The id of the timer.requested event.
    timer_id text NOT NULL,
    -- That event's version in its stream: an older request never replaces a newer one.
    version bigint NOT NULL,
    partition int NOT NULL,
    correlation_id text NOT NULL,
    traceparent text,
    -- The time of the timer.fired event, fixed before it is published for the first time.
    fired_at timestamptz,
    PRIMARY KEY (conversation, kind)
);

CREATE INDEX timers_due ON notify.timers (due);
