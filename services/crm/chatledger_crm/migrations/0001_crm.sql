-- The last copy of each project's stock and prices, the orders on their way to the CRM, and the service's own events.

CREATE TABLE crm.positions (
    incarnation text NOT NULL,
    topic text NOT NULL,
    partition int NOT NULL,
    next_offset bigint NOT NULL,
    PRIMARY KEY (incarnation, topic, partition)
);

-- Every event that this service decided, and the outbox at once: what has no published_at is still to publish.
CREATE TABLE crm.events (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text COLLATE "C" NOT NULL UNIQUE,
    -- The key on its topic: project/inventory/<sku>, or project/crm/<order id>.
    key text COLLATE "C" NOT NULL,
    stream text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    type text NOT NULL,
    schema_version int NOT NULL,
    time timestamptz NOT NULL,
    correlation_id text NOT NULL,
    causation_id text,
    traceparent text,
    data text NOT NULL,
    published_at timestamptz,
    UNIQUE (stream, version)
);
CREATE INDEX events_unpublished ON crm.events (position) WHERE published_at IS NULL;

-- The last copy. fetched_at is when the CRM said so last, whether or not anything was another than before.
CREATE TABLE crm.inventory (
    project text NOT NULL,
    sku text NOT NULL,
    -- The product's id in the CRM; NULL: it does not have the product any more.
    reference text,
    price_minor bigint,
    stock bigint,
    fetched_at timestamptz NOT NULL,
    -- The newest event about it, and its version in the stream inventory-<project>-<sku>.
    event_id text NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (project, sku)
);

-- When each project's inventory is fetched next, and when it was last.
CREATE TABLE crm.refreshes (
    project text PRIMARY KEY,
    due_at timestamptz NOT NULL,
    fetched_at timestamptz,
    failures int NOT NULL DEFAULT 0
);

CREATE TABLE crm.orders (
    id text COLLATE "C" PRIMARY KEY,
    project text NOT NULL,
    -- The data of order.created, and its schema version.
    created text NOT NULL,
    created_version int NOT NULL,
    -- Its id in the CRM, once that has it.
    reference text
);

-- One row for each change of an order that the CRM is to know; an order's go one after another.
CREATE TABLE crm.pushes (
    -- The id of billing's event.
    id text COLLATE "C" PRIMARY KEY,
    sequence bigint GENERATED ALWAYS AS IDENTITY,
    order_id text COLLATE "C" NOT NULL,
    project text NOT NULL,
    status text NOT NULL,
    correlation_id text NOT NULL,
    traceparent text,
    attempts int NOT NULL DEFAULT 0,
    -- NULL: at once.
    next_attempt_at timestamptz,
    done_at timestamptz
);
CREATE INDEX pushes_waiting ON crm.pushes (order_id, sequence) WHERE done_at IS NULL;

-- Which lives of the broker were told the inventory.
CREATE TABLE crm.incarnations (
    incarnation text PRIMARY KEY,
    told_at timestamptz NOT NULL
);

CREATE TABLE crm.breakers (
    name text PRIMARY KEY,
    state text NOT NULL,
    failures int NOT NULL,
    changed_at timestamptz NOT NULL,
    -- When the service last said so.
    seen_at timestamptz NOT NULL
);
