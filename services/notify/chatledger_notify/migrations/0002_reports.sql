-- What providers report of messages that were sent, when clients last wrote, and how the breakers stand.

ALTER TABLE notify.deliveries DROP CONSTRAINT deliveries_status_check;
ALTER TABLE notify.deliveries
    ADD CONSTRAINT deliveries_status_check CHECK (status IN ('waiting', 'sent', 'failed', 'blocked')),
    -- The stream that asked for the message unasked; kept beside the reply, which is not kept for long.
    ADD COLUMN regarding text,
    -- The highest that was reported, in the order of the list; NULL: nothing yet.
    ADD COLUMN reported text CHECK (reported IN ('queued', 'sent', 'failed', 'delivered', 'read')),
    -- The version of the last event in the stream `delivery-<id>`, once the delivery has ended.
    ADD COLUMN version int NOT NULL DEFAULT 1;

-- Which message a report means that does not carry our id.
CREATE INDEX deliveries_sent ON notify.deliveries (provider_message_id) WHERE provider_message_id <> '';

-- Reports that were taken in and not yet folded into their delivery's row.
CREATE TABLE notify.reports (
    -- The id of the delivery.reported event.
    id text COLLATE "C" PRIMARY KEY,
    sequence bigint GENERATED ALWAYS AS IDENTITY,
    -- That of the delivery: whoever sends is the one who folds.
    partition int NOT NULL,
    project text NOT NULL,
    channel text NOT NULL,
    delivery_id text COLLATE "C",
    provider_message_id text NOT NULL,
    status text NOT NULL,
    error text,
    reported_at timestamptz NOT NULL,
    -- No message is known by this provider's id yet.
    waiting boolean NOT NULL DEFAULT false
);

CREATE INDEX reports_new ON notify.reports (partition, sequence) WHERE NOT waiting;
CREATE INDEX reports_waiting ON notify.reports (provider_message_id) WHERE waiting;

-- Rises of a delivery's status that are still to be published: the outbox of message.delivered and the like.
CREATE TABLE notify.statuses (
    delivery_id text COLLATE "C" NOT NULL,
    version int NOT NULL,
    status text NOT NULL,
    -- The id of the report that said so, and so the event's cause.
    report_id text NOT NULL,
    provider_message_id text NOT NULL,
    reason text NOT NULL,
    happened_at timestamptz NOT NULL,
    PRIMARY KEY (delivery_id, version)
);

-- When each client last wrote, over channels that let free text through only for a while after that.
CREATE TABLE notify.clients (
    conversation text COLLATE "C" PRIMARY KEY,
    last_message_at timestamptz NOT NULL
);

CREATE INDEX clients_by_age ON notify.clients (last_message_at);

-- One breaker per account at a provider, `project/channel`. Where several workers have one, the worst is shown.
CREATE TABLE notify.breakers (
    name text PRIMARY KEY,
    state text NOT NULL CHECK (state IN ('closed', 'half_open', 'open')),
    failures int NOT NULL,
    changed_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    worker text NOT NULL
);
