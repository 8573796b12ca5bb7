-- Campaigns, folded from their streams in the same transaction, and whom each of them is for.

CREATE TABLE outreach.campaigns (
    id text COLLATE "C" PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    project text NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    message text NOT NULL,
    -- As it was asked for.
    audience json NOT NULL,
    content_sid text,
    content_variables json NOT NULL,
    rate_per_s int NOT NULL,
    batch_size int NOT NULL,
    scheduled_for timestamptz,
    status text NOT NULL,
    version bigint NOT NULL,
    targeted int NOT NULL DEFAULT 0,
    released int NOT NULL DEFAULT 0,
    batches int NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    started_at timestamptz,
    ended_at timestamptz,
    -- When it starts, or its next batch is released; where it is paused, the earliest time for that batch.
    due_at timestamptz
);
CREATE INDEX campaigns_due ON outreach.campaigns (due_at) WHERE status IN ('scheduled', 'running');
CREATE INDEX campaigns_project ON outreach.campaigns (project, number DESC);

-- The audience as it was settled at the start, one row per client.
CREATE TABLE outreach.campaign_targets (
    campaign_id text COLLATE "C" NOT NULL,
    place int NOT NULL,
    conversation text COLLATE "C" NOT NULL,
    -- 0 waiting, 1 told to the conversation, 2 skipped, 3 sent, 4 failed, 5 delivered, 6 read. It never goes back.
    state smallint NOT NULL DEFAULT 0,
    -- Why it was skipped, or failed.
    reason text,
    sent_at timestamptz,
    -- When the client wrote while the message was on its way: what was heard after it was sent may be a response.
    heard_at timestamptz[] NOT NULL DEFAULT '{}',
    responded boolean NOT NULL DEFAULT false,
    PRIMARY KEY (campaign_id, place),
    UNIQUE (conversation, campaign_id)
);

-- The places of one time zone, and which of them come next: `next` up to, and without, `stop`.
CREATE TABLE outreach.campaign_parts (
    campaign_id text COLLATE "C" NOT NULL,
    -- Empty where the hour of the day is no matter.
    time_zone text NOT NULL,
    next int NOT NULL,
    stop int NOT NULL,
    PRIMARY KEY (campaign_id, time_zone)
);

-- Requests that came with an Idempotency-Key, so that one that comes again has the same answer and no second effect.
CREATE TABLE outreach.campaign_requests (
    project text NOT NULL,
    key text COLLATE "C" NOT NULL,
    -- SHA-256 of what was asked for.
    digest text NOT NULL,
    campaign_id text NOT NULL,
    PRIMARY KEY (project, key)
);
