-- The service's own events with their outbox, what it knows of clients, and reminders.

CREATE TABLE outreach.positions (
    incarnation text NOT NULL,
    topic text NOT NULL,
    partition int NOT NULL,
    next_offset bigint NOT NULL,
    PRIMARY KEY (incarnation, topic, partition)
);

-- Every event that this service decided, and the outbox at once: what has no published_at is still to publish.
CREATE TABLE outreach.events (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text COLLATE "C" NOT NULL UNIQUE,
    topic text NOT NULL,
    source text NOT NULL,
    -- The key on its topic: a conversation, or project/campaigns/<id>.
    key text COLLATE "C" NOT NULL,
    stream text COLLATE "C" NOT NULL,
    -- NULL: nobody's decision, as on chat.inbound.
    version bigint,
    type text NOT NULL,
    schema_version int NOT NULL,
    time timestamptz NOT NULL,
    correlation_id text NOT NULL,
    causation_id text,
    traceparent text,
    -- The event's own JSON. Text, because json types refuse characters that a client may have sent.
    data text NOT NULL,
    published_at timestamptz,
    UNIQUE (stream, version)
);
CREATE INDEX events_unpublished ON outreach.events (position) WHERE published_at IS NULL;

-- A projection: what was heard of each client, for choosing whom to write to and how.
CREATE TABLE outreach.clients (
    conversation text COLLATE "C" PRIMARY KEY,
    project text NOT NULL,
    channel text NOT NULL,
    client_id text NOT NULL,
    name text,
    language text,
    opted_out boolean NOT NULL DEFAULT false,
    orders int NOT NULL DEFAULT 0,
    spend_minor bigint NOT NULL DEFAULT 0,
    currency text,
    last_order_at timestamptz,
    last_message_at timestamptz,
    tags text[] NOT NULL DEFAULT '{}',
    -- Of tags: the version in the stream client-<conversation>.
    tags_version bigint NOT NULL DEFAULT 0,
    time_zone text NOT NULL
);
CREATE INDEX clients_project ON outreach.clients (project, conversation);
CREATE INDEX clients_client ON outreach.clients (client_id);

-- Projections of billing's orders and invoices, as far as reminders need them.
CREATE TABLE outreach.orders (
    id text COLLATE "C" PRIMARY KEY,
    number text NOT NULL,
    conversation text COLLATE "C" NOT NULL,
    project text NOT NULL,
    status text NOT NULL,
    total_minor bigint NOT NULL,
    currency text,
    created_at timestamptz NOT NULL
);
CREATE INDEX orders_number ON outreach.orders (number);
CREATE INDEX orders_conversation ON outreach.orders (conversation);

CREATE TABLE outreach.invoices (
    id text COLLATE "C" PRIMARY KEY,
    number text NOT NULL,
    order_id text NOT NULL,
    conversation text COLLATE "C" NOT NULL,
    project text NOT NULL,
    status text NOT NULL,
    total_minor bigint NOT NULL,
    currency text NOT NULL,
    due_on date NOT NULL
);
CREATE INDEX invoices_number ON outreach.invoices (number);

-- What a client wanted when there was none, or not enough, of it.
CREATE TABLE outreach.wishes (
    conversation text COLLATE "C" NOT NULL,
    project text NOT NULL,
    sku text NOT NULL,
    in_stock bigint NOT NULL,
    wished_at timestamptz NOT NULL,
    told boolean NOT NULL DEFAULT false,
    PRIMARY KEY (conversation, sku)
);
CREATE INDEX wishes_open ON outreach.wishes (project, sku) WHERE NOT told;

-- How much there was of a product when it was last heard of.
CREATE TABLE outreach.stock (
    project text NOT NULL,
    sku text NOT NULL,
    in_stock bigint NOT NULL,
    known_at timestamptz NOT NULL,
    PRIMARY KEY (project, sku)
);

-- Reminders, folded from their streams in the same transaction: what is due, and what the API lists.
CREATE TABLE outreach.reminders (
    id text COLLATE "C" PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    project text NOT NULL,
    conversation text COLLATE "C" NOT NULL,
    kind text NOT NULL,
    about text,
    text text NOT NULL,
    due timestamptz NOT NULL,
    status text NOT NULL,
    reason text,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX reminders_due ON outreach.reminders (due) WHERE status = 'scheduled';
CREATE INDEX reminders_conversation ON outreach.reminders (conversation, kind) WHERE status = 'scheduled';
CREATE INDEX reminders_project ON outreach.reminders (project, number DESC);
