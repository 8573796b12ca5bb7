-- What the HTTP API reads. It is made from the aggregates' events and can be made again from them: empty the three
-- tables and start the service. The tables aggregate_events and aggregate_tracking are made by the library.

CREATE TABLE billing.orders (
    id text PRIMARY KEY,
    number text NOT NULL,
    project text NOT NULL,
    conversation text NOT NULL,
    status text NOT NULL,
    version integer NOT NULL,
    lines jsonb NOT NULL,
    currency text,
    total_minor bigint,
    placed_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    position bigint NOT NULL UNIQUE
);
COMMENT ON COLUMN billing.orders.position IS 'Place of order.created in the notification log: the order of pages.';
CREATE INDEX orders_number ON billing.orders (number);
CREATE INDEX orders_project ON billing.orders (project, position DESC);
CREATE INDEX orders_status ON billing.orders (status, position DESC);

CREATE TABLE billing.invoices (
    id text PRIMARY KEY,
    number text NOT NULL,
    project text NOT NULL,
    order_id text NOT NULL UNIQUE,
    conversation text NOT NULL,
    status text NOT NULL,
    version integer NOT NULL,
    lines jsonb NOT NULL,
    currency text NOT NULL,
    total_minor bigint NOT NULL,
    issued_on date NOT NULL,
    due_on date NOT NULL,
    UNIQUE (number, project)
);

CREATE TABLE billing.relay (
    name text PRIMARY KEY,
    position bigint NOT NULL
);
COMMENT ON TABLE billing.relay IS 'How far the notification log was published and laid down in the tables above.';
