-- History for analysts: views and functions over ledger.events, in a schema of their own, with the caller's rights.
-- docs/history-sql.md shows every one with examples. What comes from events of an older schema version is filled in as
-- the upcasters of chatledger/events/codec.py do: a field that the version did not have has the default of today's class.
--
-- What is quick, and what walks through all of history (about 1 s for a million events, when they are in memory):
-- * one stream, one event id, one stretch of positions or of recorded time: by an index. A conversation's stream is
--   'conversation-' || conversation, so a filter on `stream` is quick where one on `conversation` walks.
-- * conversation_at, messages_of, order_at: by indexes. The other functions and views without such a filter: they walk.

CREATE SCHEMA history;
COMMENT ON SCHEMA history IS 'History for analysts: views and functions over ledger.events that only read.';

-- From an order to its invoice, and from a message to the dead letter that it ended in. Both are for rare events alone,
-- so they cost the recorder next to nothing.
CREATE INDEX events_invoice_of_order ON ledger.events ((data ->> 'order_id')) WHERE type = 'invoice.issued';
CREATE INDEX events_dead_letter_of ON ledger.events ((data -> 'headers' ->> 'ce_id'))
    WHERE type = 'record.dead_lettered';

-- Whoever follows the ledger is told that there is more: once for each statement, so once for each COPY. A message that
-- is lost costs them no event, because they also look by themselves.
CREATE FUNCTION ledger.tell_followers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('ledger_events', '');
    RETURN NULL;
END
$$;

CREATE TRIGGER events_tell_followers AFTER INSERT ON ledger.events
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.tell_followers();

----------------------------------------------------------------------------------------------------------------------
-- Small parts
----------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION history.as_uuid(text) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN $1 ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN $1::uuid END;
COMMENT ON FUNCTION history.as_uuid(text) IS 'The text as a UUID; null where it is none.';

CREATE FUNCTION history.as_integer(jsonb) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof($1) = 'number'
            THEN CASE WHEN $1::numeric % 1 = 0 AND $1::numeric BETWEEN -9223372036854775808 AND 9223372036854775807
                      THEN $1::numeric::bigint END
       END;
COMMENT ON FUNCTION history.as_integer(jsonb) IS 'The number as an integer of 64 bits; null where it is none.';

CREATE FUNCTION history.as_array(jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof($1) = 'array' THEN $1 ELSE '[]' END;
COMMENT ON FUNCTION history.as_array(jsonb) IS 'The array; an empty one for anything else.';

CREATE FUNCTION history.conversation_of(subject text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN subject ~ '^[^/]+/[^/]+/.' AND split_part(subject, '/', 2) NOT IN ('campaigns', 'crm', 'inventory')
            THEN subject END;
COMMENT ON FUNCTION history.conversation_of(text) IS
    'The subject of an event where it is a conversation, project/channel/client; null for a campaign, a product and the like.';

CREATE FUNCTION history.client_of(conversation text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN substr(conversation, length(split_part(conversation, '/', 1)) + length(split_part(conversation, '/', 2)) + 3);
COMMENT ON FUNCTION history.client_of(text) IS 'The third part of a conversation id: the id that the provider gives the client.';

----------------------------------------------------------------------------------------------------------------------
-- history.events
----------------------------------------------------------------------------------------------------------------------

CREATE VIEW history.events WITH (security_invoker = true) AS
SELECT position, id, stream, version, type,
       split_part(metadata ->> 'conversation', '/', 1) AS project,
       CASE WHEN history.conversation_of(metadata ->> 'conversation') IS NOT NULL
            THEN split_part(metadata ->> 'conversation', '/', 2) END AS channel,
       history.client_of(history.conversation_of(metadata ->> 'conversation')) AS client_id,
       history.conversation_of(metadata ->> 'conversation') AS conversation,
       metadata ->> 'conversation' AS subject,
       occurred_at, recorded_at, data,
       history.as_uuid(metadata ->> 'correlationid') AS correlation_id,
       history.as_uuid(metadata ->> 'causationid') AS causation_id,
       metadata ->> 'source' AS source,
       (metadata ->> 'schemaversion')::int AS schema_version,
       metadata ->> 'traceparent' AS traceparent,
       topic, partition, source_offset
FROM ledger.events;

COMMENT ON VIEW history.events IS 'Every event, in flat columns.';
COMMENT ON COLUMN history.events.position IS 'The place in history. Rises in commit order; a number may be missing.';
COMMENT ON COLUMN history.events.id IS 'The event''s id.';
COMMENT ON COLUMN history.events.stream IS 'What the event is about: conversation-<id>, order-<id>, invoice-<id>, delivery-<id> and so on. Indexed.';
COMMENT ON COLUMN history.events.version IS 'Counts 1..n in a stream whose owner decides; null for what came from outside.';
COMMENT ON COLUMN history.events.type IS 'What happened, such as order.placed.';
COMMENT ON COLUMN history.events.project IS 'The first part of the subject.';
COMMENT ON COLUMN history.events.channel IS 'The second part of the conversation; null where the event is no client''s.';
COMMENT ON COLUMN history.events.client_id IS 'The third part of the conversation; null where the event is no client''s.';
COMMENT ON COLUMN history.events.conversation IS 'project/channel/client; null where the event is no client''s.';
COMMENT ON COLUMN history.events.subject IS 'The key on the topic: the conversation, or project/campaigns/<id>, project/inventory/<sku>, project/crm/<id>.';
COMMENT ON COLUMN history.events.occurred_at IS 'Event time: when it happened, as its source says.';
COMMENT ON COLUMN history.events.recorded_at IS 'Recorded time: when the ledger took it. Rises with position; indexed.';
COMMENT ON COLUMN history.events.data IS 'The event''s own fields, as they were written, at schema_version.';
COMMENT ON COLUMN history.events.correlation_id IS 'The first event of the line of causes that this one belongs to.';
COMMENT ON COLUMN history.events.causation_id IS 'The event because of which this one happened; null where nothing in the ledger caused it.';
COMMENT ON COLUMN history.events.source IS 'Who wrote it, such as /chatledger/dialog.';
COMMENT ON COLUMN history.events.schema_version IS 'The schema version of its data; there is a JSON Schema for each in schemas/.';
COMMENT ON COLUMN history.events.traceparent IS 'The W3C trace that it belongs to.';
COMMENT ON COLUMN history.events.topic IS 'The topic it was read from; chat.dead for what could not be recorded as it was.';
COMMENT ON COLUMN history.events.partition IS 'The partition it was read from.';
COMMENT ON COLUMN history.events.source_offset IS 'The offset it was read from, in that life of the broker.';

----------------------------------------------------------------------------------------------------------------------
-- The fold of a conversation: chatledger/conversation.py and shop.py once more, event by event
----------------------------------------------------------------------------------------------------------------------

CREATE TYPE history.conversation_state AS (
    version int, status text, flow text, language text, address text, phone text, quantity bigint, order_id text,
    wrong_answers int, opted_out boolean, cart jsonb, choices int, discount_code text, sessions int,
    started_at timestamptz, last_message_at timestamptz, last_event_at timestamptz, last_position bigint, cause text
);
COMMENT ON TYPE history.conversation_state IS 'What history.fold_conversation carries from event to event; see history.known_conversation.';

CREATE FUNCTION history.first_status(flow text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE flow WHEN 'order_form' THEN 'WAITING_ADDRESS' WHEN 'store' THEN 'SHOPPING' ELSE 'INITIAL' END;
COMMENT ON FUNCTION history.first_status(text) IS 'Where a conversation of the flow begins.';

CREATE FUNCTION history.with_items(cart jsonb, items jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    item jsonb;
    place int;
    together numeric;
BEGIN
    FOR item IN SELECT jsonb_strip_nulls(value) FROM jsonb_array_elements(history.as_array(items)) LOOP
        place := (SELECT ordinality - 1 FROM jsonb_array_elements(cart) WITH ORDINALITY AS line
                  WHERE line.value ->> 'sku' IS NOT DISTINCT FROM item ->> 'sku');
        IF place IS NULL THEN
            cart := cart || jsonb_build_array(item);
        ELSE
            together := coalesce(history.as_integer(item -> 'quantity'), 0)::numeric
                        + CASE WHEN jsonb_typeof(cart -> place -> 'quantity') = 'number'
                               THEN (cart -> place -> 'quantity')::numeric ELSE 0 END;
            item := item || jsonb_build_object('quantity', least(together, 9223372036854775807));
            cart := jsonb_set(cart, ARRAY[place::text], item);
        END IF;
    END LOOP;
    RETURN cart;
END
$$;
COMMENT ON FUNCTION history.with_items(jsonb, jsonb) IS 'A cart with further lines: what is there already becomes more.';

CREATE FUNCTION history.evolve_conversation(
    state history.conversation_state, event_version int, event_type text, schema_version int, data jsonb,
    cause text, occurred_at timestamptz, event_position bigint
) RETURNS history.conversation_state LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    -- Of a schema version that is not known here nothing but the event's place in the stream counts.
    kind text := CASE WHEN schema_version <= CASE WHEN event_type IN ('order.placed', 'order.cancelled') THEN 2 ELSE 1 END
                      THEN event_type ELSE '' END;
    choices_before int := state.choices;
BEGIN
    IF event_version <= state.version THEN
        RETURN state;
    END IF;
    state.version := event_version;
    state.last_event_at := occurred_at;
    state.last_position := event_position;
    -- What came of one message, or of one report or timer, is one run of events with one cause. Whose it was says the first.
    IF cause IS DISTINCT FROM state.cause THEN
        state.cause := cause;
        IF kind NOT IN ('conversation.expired', 'timer.requested', 'order.noted', 'invoice.noted', 'notice.decided',
                        'cart.abandoned') THEN
            state.last_message_at := occurred_at;
        END IF;
    END IF;

    -- The first event of all that concern no column is the most frequent one.
    CASE kind
        WHEN 'reply.requested', 'timer.requested', '' THEN
            NULL;
        WHEN 'conversation.started', 'conversation.restarted', 'conversation.expired', 'order.cancelled' THEN
            state.address := NULL;
            state.phone := NULL;
            state.quantity := NULL;
            state.order_id := NULL;
            state.wrong_answers := 0;
            IF state.cart IS NOT NULL THEN
                state.cart := '[]';
                state.choices := 0;
                state.discount_code := NULL;
            END IF;
            IF kind = 'conversation.started' THEN
                state.flow := data ->> 'flow';
                state.language := data ->> 'language';
                state.sessions := state.sessions + 1;
                state.started_at := occurred_at;
                IF state.flow = 'store' THEN
                    state.cart := '[]';
                END IF;
            END IF;
            state.status := CASE kind
                                WHEN 'conversation.expired' THEN 'INITIAL'
                                WHEN 'order.cancelled' THEN 'CANCELLED'
                                ELSE history.first_status(state.flow)
                            END;
        WHEN 'address.given' THEN
            state.status := 'WAITING_PHONE';
            state.address := data ->> 'address';
            state.wrong_answers := 0;
        WHEN 'phone.given' THEN
            state.status := 'WAITING_QUANTITY';
            state.phone := data ->> 'phone';
            state.wrong_answers := 0;
        WHEN 'quantity.given' THEN
            state.status := 'WAITING_CONFIRMATION';
            state.quantity := history.as_integer(data -> 'quantity');
            state.wrong_answers := 0;
        WHEN 'answer.rejected' THEN
            state.wrong_answers := state.wrong_answers + 1;
        WHEN 'answer.withdrawn' THEN
            state.wrong_answers := 0;
            CASE data ->> 'question'
                WHEN 'address' THEN
                    state.status := 'WAITING_ADDRESS';
                    state.address := NULL;
                WHEN 'phone' THEN
                    state.status := 'WAITING_PHONE';
                    state.phone := NULL;
                WHEN 'quantity' THEN
                    state.status := 'WAITING_QUANTITY';
                    state.quantity := NULL;
                ELSE
                    NULL;
            END CASE;
        WHEN 'order.placed' THEN
            state.status := 'COMPLETED';
            state.order_id := data ->> 'order_id';
            state.wrong_answers := 0;
            IF state.cart IS NOT NULL THEN
                state.cart := '[]';
                state.choices := 0;
                state.discount_code := NULL;
            END IF;
        WHEN 'conversation.handoff_requested' THEN
            state.status := 'HANDED_OFF';
            state.wrong_answers := 0;
        WHEN 'client.opted_out' THEN
            state.opted_out := true;
        WHEN 'client.opted_in' THEN
            state.opted_out := false;
        WHEN 'cart.items_added' THEN
            state.status := CASE WHEN choices_before > 0 THEN 'WAITING_CHOICE' ELSE 'WAITING_CONFIRMATION' END;
            state.wrong_answers := 0;
            state.cart := history.with_items(state.cart, data -> 'items');
        WHEN 'cart.choice_asked' THEN
            state.status := 'WAITING_CHOICE';
            state.wrong_answers := 0;
            IF state.cart IS NOT NULL THEN
                state.choices := choices_before + 1;
            END IF;
        WHEN 'cart.choice_made' THEN
            state.status := CASE WHEN choices_before > 1 THEN 'WAITING_CHOICE'
                                 WHEN jsonb_array_length(state.cart) > 0 THEN 'WAITING_CONFIRMATION'
                                 ELSE 'SHOPPING' END;
            state.wrong_answers := 0;
            state.choices := greatest(choices_before - 1, 0);
        WHEN 'cart.item_removed' THEN
            state.wrong_answers := 0;
            IF state.cart IS NOT NULL THEN
                state.cart := (SELECT coalesce(jsonb_agg(line.value ORDER BY line.ordinality), '[]')
                               FROM jsonb_array_elements(state.cart) WITH ORDINALITY AS line
                               WHERE line.value ->> 'sku' IS DISTINCT FROM data ->> 'sku');
            END IF;
            IF choices_before = 0 THEN
                state.status := CASE WHEN jsonb_array_length(state.cart) > 0 THEN 'WAITING_CONFIRMATION'
                                     ELSE 'SHOPPING' END;
            END IF;
        WHEN 'cart.discount_applied' THEN
            IF state.cart IS NOT NULL THEN
                state.discount_code := data ->> 'code';
            END IF;
        WHEN 'cart.kept' THEN
            state.status := 'SHOPPING';
            state.wrong_answers := 0;
        ELSE
            NULL;
    END CASE;
    RETURN state;
END
$$;
COMMENT ON FUNCTION history.evolve_conversation(history.conversation_state, int, text, int, jsonb, text, timestamptz, bigint) IS
    'The state of a conversation after one event of its stream: evolve() of chatledger/conversation.py in SQL.';

CREATE AGGREGATE history.fold_conversation(
    version int, type text, schema_version int, data jsonb, cause text, occurred_at timestamptz, event_position bigint
) (
    SFUNC = history.evolve_conversation,
    STYPE = history.conversation_state,
    INITCOND = '(0,INITIAL,,,,,,,0,f,,0,,0,,,,,)',
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE history.fold_conversation(int, text, int, jsonb, text, timestamptz, bigint) IS
    'The state of a conversation from the versioned events of its stream, in the order of positions.';

----------------------------------------------------------------------------------------------------------------------
-- history.conversations_at
----------------------------------------------------------------------------------------------------------------------

CREATE TYPE history.known_conversation AS (
    conversation text, project text, channel text, client_id text, status text, flow text, language text, address text,
    phone text, quantity bigint, order_id text, opted_out boolean, wrong_answers int, cart jsonb, open_choices int,
    discount_code text, sessions int, started_at timestamptz, last_message_at timestamptz, last_event_at timestamptz,
    version int, last_position bigint, stream text
);
COMMENT ON TYPE history.known_conversation IS 'One conversation as it was known at some moment.';
COMMENT ON COLUMN history.known_conversation.conversation IS 'project/channel/client.';
COMMENT ON COLUMN history.known_conversation.project IS 'The first part of the conversation.';
COMMENT ON COLUMN history.known_conversation.channel IS 'The second part of the conversation.';
COMMENT ON COLUMN history.known_conversation.client_id IS 'The third part of the conversation: the id that the provider gives the client.';
COMMENT ON COLUMN history.known_conversation.status IS 'Where it stands: INITIAL, WAITING_ADDRESS, WAITING_PHONE, WAITING_QUANTITY, SHOPPING, WAITING_CHOICE, WAITING_CONFIRMATION, COMPLETED, CANCELLED, HANDED_OFF.';
COMMENT ON COLUMN history.known_conversation.flow IS 'The flow of the newest session: order_form, store.';
COMMENT ON COLUMN history.known_conversation.language IS 'The language of the newest session.';
COMMENT ON COLUMN history.known_conversation.address IS 'The address that was given in this session; null where none is, or it was taken back.';
COMMENT ON COLUMN history.known_conversation.phone IS 'The phone number that was given in this session, in E.164; null as above.';
COMMENT ON COLUMN history.known_conversation.quantity IS 'The quantity that was given in this session; null as above.';
COMMENT ON COLUMN history.known_conversation.order_id IS 'The order that was placed in this session.';
COMMENT ON COLUMN history.known_conversation.opted_out IS 'Whether the client wants no promotions. It outlives sessions.';
COMMENT ON COLUMN history.known_conversation.wrong_answers IS 'How many answers in a row were not usable.';
COMMENT ON COLUMN history.known_conversation.cart IS 'The lines of a store''s cart, without fields that are null; null where the conversation was never a store''s.';
COMMENT ON COLUMN history.known_conversation.open_choices IS 'How many questions are open which of several products is meant.';
COMMENT ON COLUMN history.known_conversation.discount_code IS 'The discount code that the cart has.';
COMMENT ON COLUMN history.known_conversation.sessions IS 'How often the conversation was started by then.';
COMMENT ON COLUMN history.known_conversation.started_at IS 'When its newest session began; event time.';
COMMENT ON COLUMN history.known_conversation.last_message_at IS 'When the client last wrote and was heard; event time.';
COMMENT ON COLUMN history.known_conversation.last_event_at IS 'When the last event of its own stream happened; event time.';
COMMENT ON COLUMN history.known_conversation.version IS 'The version of that event: how many events its stream has.';
COMMENT ON COLUMN history.known_conversation.last_position IS 'The position of that event.';
COMMENT ON COLUMN history.known_conversation.stream IS 'Its stream, conversation-<id>: a filter on this column is by the index.';

-- Inlined where it is called, so a filter on `stream` goes down to the index. Else it reads all of history and sorts the
-- events of conversations.
CREATE FUNCTION history.conversations_at(moment timestamptz) RETURNS SETOF history.known_conversation
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT substr(folded.stream, 14), split_part(substr(folded.stream, 14), '/', 1), split_part(folded.stream, '/', 2),
           history.client_of(substr(folded.stream, 14)), (folded.state).status, (folded.state).flow,
           (folded.state).language, (folded.state).address, (folded.state).phone, (folded.state).quantity,
           (folded.state).order_id, (folded.state).opted_out, (folded.state).wrong_answers, (folded.state).cart,
           (folded.state).choices, (folded.state).discount_code, (folded.state).sessions, (folded.state).started_at,
           (folded.state).last_message_at, (folded.state).last_event_at, (folded.state).version,
           (folded.state).last_position, folded.stream
    FROM (
        SELECT events.stream,
               history.fold_conversation(
                   version, type, (metadata ->> 'schemaversion')::int,
                   -- The greatest of them, and nothing in it is folded: so it need not be sorted.
                   CASE WHEN type <> 'reply.requested' THEN data END,
                   left(coalesce(nullif(metadata ->> 'causationid', ''), id::text), 18), occurred_at, position
                   ORDER BY position
               ) AS state
        FROM ledger.events
        WHERE events.stream LIKE 'conversation-%' AND version IS NOT NULL AND recorded_at <= moment
        GROUP BY events.stream
    ) AS folded;
END;
COMMENT ON FUNCTION history.conversations_at(timestamptz) IS
    'Every conversation as it was known at a recorded time: one row each.';

CREATE FUNCTION history.conversation_at(conversation text, moment timestamptz) RETURNS SETOF history.known_conversation
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT known.* FROM history.conversations_at(moment) AS known WHERE known.stream = 'conversation-' || conversation_at.conversation;
END;
COMMENT ON FUNCTION history.conversation_at(text, timestamptz) IS
    'One conversation as it was known at a recorded time, by the index: one row, or none where nothing was known.';

----------------------------------------------------------------------------------------------------------------------
-- history.steps
----------------------------------------------------------------------------------------------------------------------

CREATE VIEW history.steps WITH (security_invoker = true) AS
SELECT folded.position, substr(folded.stream, 14) AS conversation, split_part(substr(folded.stream, 14), '/', 1) AS project,
       (folded.state).flow AS flow, (folded.state).sessions AS session, folded.version, folded.type,
       (folded.state).status AS status, (folded.state).order_id AS order_id, folded.occurred_at, folded.recorded_at,
       folded.stream
FROM (
    SELECT events.position, events.stream, version, type, occurred_at, recorded_at,
           history.fold_conversation(
               version, type, (metadata ->> 'schemaversion')::int, CASE WHEN type <> 'reply.requested' THEN data END,
               left(coalesce(nullif(metadata ->> 'causationid', ''), id::text), 18), occurred_at, position
           ) OVER (PARTITION BY events.stream ORDER BY position) AS state
    FROM ledger.events
    WHERE events.stream LIKE 'conversation-%' AND version IS NOT NULL
) AS folded;

COMMENT ON VIEW history.steps IS 'Every event of a conversation''s own stream, and what it led to.';
COMMENT ON COLUMN history.steps.position IS 'The event''s place in history.';
COMMENT ON COLUMN history.steps.conversation IS 'project/channel/client.';
COMMENT ON COLUMN history.steps.project IS 'The first part of the conversation.';
COMMENT ON COLUMN history.steps.flow IS 'The flow of the session.';
COMMENT ON COLUMN history.steps.session IS 'The number of the session in its conversation, from 1; 0 before the first.';
COMMENT ON COLUMN history.steps.version IS 'The event''s version in the stream.';
COMMENT ON COLUMN history.steps.type IS 'What happened.';
COMMENT ON COLUMN history.steps.status IS 'Where the conversation stood after it.';
COMMENT ON COLUMN history.steps.order_id IS 'The order of the session after it, if one was placed.';
COMMENT ON COLUMN history.steps.occurred_at IS 'When it happened; event time.';
COMMENT ON COLUMN history.steps.recorded_at IS 'When the ledger took it; recorded time.';
COMMENT ON COLUMN history.steps.stream IS 'conversation-<id>: a filter on this column is by the index.';

----------------------------------------------------------------------------------------------------------------------
-- Orders and invoices: billing's fold, and chatledger/pricing.py, in SQL
----------------------------------------------------------------------------------------------------------------------

CREATE TYPE history.amounts AS (subtotal_minor numeric, discount_minor numeric, tax_minor numeric, total_minor numeric);
COMMENT ON TYPE history.amounts IS 'What an order comes to, in minor units of its currency.';

CREATE FUNCTION history.half_up(numerator numeric, denominator numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN div(2 * numerator + denominator, 2 * denominator);
COMMENT ON FUNCTION history.half_up(numeric, numeric) IS 'The quotient rounded half up; neither is negative.';

CREATE FUNCTION history.charged_by_rate(lines jsonb, OUT rate bigint, OUT charged numeric) RETURNS SETOF record
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT coalesce(history.as_integer(line -> 'tax_bp'), 0),
           sum(history.as_integer(line -> 'quantity')::numeric * history.as_integer(line -> 'unit_price_minor'))
    FROM jsonb_array_elements(lines) AS line
    GROUP BY 1;
END;
COMMENT ON FUNCTION history.charged_by_rate(jsonb) IS 'What the lines cost at each tax rate, in basis points, before discounts.';

CREATE FUNCTION history.amounts_of(lines jsonb, discounts jsonb, tax_inclusive boolean) RETURNS history.amounts
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    computed history.amounts;
    discount jsonb;
    rest numeric;
BEGIN
    IF discounts = '[]' THEN
        SELECT coalesce(sum(charged), 0), 0,
               coalesce(sum(history.half_up(charged * rate, 10000 + CASE WHEN tax_inclusive THEN rate ELSE 0 END))
                        FILTER (WHERE rate <> 0), 0)
        INTO computed.subtotal_minor, computed.discount_minor, computed.tax_minor
        FROM history.charged_by_rate(lines);
        computed.total_minor := computed.subtotal_minor + CASE WHEN tax_inclusive THEN 0 ELSE computed.tax_minor END;
        RETURN computed;
    END IF;
    computed.subtotal_minor := (SELECT coalesce(sum(charged), 0) FROM history.charged_by_rate(lines));
    rest := computed.subtotal_minor;
    -- Shares first, each from what the one before left, then amounts.
    FOR discount IN SELECT value FROM jsonb_array_elements(discounts) WHERE value ->> 'percent_bp' IS NOT NULL LOOP
        rest := rest - history.half_up(rest * history.as_integer(discount -> 'percent_bp'), 10000);
    END LOOP;
    FOR discount IN SELECT value FROM jsonb_array_elements(discounts) WHERE value ->> 'amount_minor' IS NOT NULL LOOP
        rest := greatest(0, rest - history.as_integer(discount -> 'amount_minor'));
    END LOOP;
    computed.discount_minor := computed.subtotal_minor - rest;
    -- What was taken off is shared among the tax rates in proportion, by the largest remainder.
    WITH divided AS (
        SELECT rate, charged,
               coalesce(div(computed.discount_minor * charged, nullif(computed.subtotal_minor, 0)), 0) AS share,
               coalesce(computed.discount_minor * charged % nullif(computed.subtotal_minor, 0), 0) AS remainder
        FROM history.charged_by_rate(lines)
    ), ranked AS (
        SELECT rate, charged, share, row_number() OVER (ORDER BY remainder DESC, rate) AS place,
               CASE WHEN computed.subtotal_minor = 0 THEN 0 ELSE computed.discount_minor - sum(share) OVER () END AS missing
        FROM divided
    ), discounted AS (
        SELECT rate, charged - share - (place <= missing)::int AS charged FROM ranked
    )
    SELECT coalesce(sum(history.half_up(charged * rate, 10000 + CASE WHEN tax_inclusive THEN rate ELSE 0 END)), 0)
    INTO computed.tax_minor
    FROM discounted
    WHERE rate <> 0;
    computed.total_minor := rest + CASE WHEN tax_inclusive THEN 0 ELSE computed.tax_minor END;
    RETURN computed;
END
$$;
COMMENT ON FUNCTION history.amounts_of(jsonb, jsonb, boolean) IS
    'What priced lines come to with these discounts: chatledger/pricing.py in SQL.';

CREATE TYPE history.order_state AS (
    number text, project text, client_id text, conversation text, status text, cancel_reason text, currency text,
    lines jsonb, discounts jsonb, tax_inclusive boolean, placed_at timestamptz, updated_at timestamptz, version int,
    last_position bigint
);
COMMENT ON TYPE history.order_state IS 'What history.fold_order carries from event to event; see history.known_order.';

CREATE FUNCTION history.evolve_order(
    state history.order_state, event_version int, event_type text, schema_version int, data jsonb,
    event_conversation text, occurred_at timestamptz, event_position bigint
) RETURNS history.order_state LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    kind text := CASE WHEN schema_version <= CASE WHEN event_type IN ('order.created', 'order.cancelled') THEN 2 ELSE 1 END
                      THEN event_type ELSE '' END;
BEGIN
    IF event_version <= state.version THEN
        RETURN state;
    END IF;
    CASE kind
        WHEN 'order.created' THEN
            state.number := data ->> 'order_number';
            state.project := data ->> 'project';
            state.client_id := data ->> 'client_id';
            state.status := 'draft';
            state.currency := data ->> 'currency';
            state.lines := jsonb_strip_nulls(history.as_array(data -> 'lines'));
            state.discounts := history.as_array(data -> 'discounts');
            state.tax_inclusive := coalesce(data -> 'tax_inclusive' = 'true', false);
            state.placed_at := occurred_at;
        WHEN 'order.item_added' THEN
            state.lines := state.lines || jsonb_build_array(jsonb_strip_nulls(data -> 'line'));
        WHEN 'order.item_removed' THEN
            state.lines := state.lines - history.as_integer(data -> 'index')::int;
        WHEN 'order.confirmed' THEN
            state.status := 'confirmed';
        WHEN 'order.advanced' THEN
            state.status := data ->> 'status';
        WHEN 'order.cancelled' THEN
            state.status := 'cancelled';
            state.cancel_reason := data ->> 'reason';
        ELSE
            NULL;
    END CASE;
    state.conversation := event_conversation;
    state.updated_at := occurred_at;
    state.version := event_version;
    state.last_position := event_position;
    RETURN state;
END
$$;
COMMENT ON FUNCTION history.evolve_order(history.order_state, int, text, int, jsonb, text, timestamptz, bigint) IS
    'The state of an order after one event of its stream: evolve() of billing''s orders in SQL.';

CREATE AGGREGATE history.fold_order(
    version int, type text, schema_version int, data jsonb, conversation text, occurred_at timestamptz,
    event_position bigint
) (SFUNC = history.evolve_order, STYPE = history.order_state, INITCOND = '(,,,,,,,,,,,,0,)', PARALLEL = SAFE);
COMMENT ON AGGREGATE history.fold_order(int, text, int, jsonb, text, timestamptz, bigint) IS
    'The state of an order from the events of its stream, in the order of positions.';

CREATE TYPE history.known_order AS (
    id text, number text, project text, conversation text, client_id text, status text, cancel_reason text,
    currency text, subtotal_minor bigint, discount_minor bigint, tax_minor bigint, total_minor bigint, lines jsonb,
    placed_at timestamptz, updated_at timestamptz, invoice_id text, invoice_number text, invoice_status text,
    invoice_total_minor bigint, paid_minor bigint, credit_note text, issued_on date, due_on date,
    invoice_updated_at timestamptz, version int, last_position bigint, stream text
);
COMMENT ON TYPE history.known_order IS 'One order, and its invoice, as they were known at some moment.';
COMMENT ON COLUMN history.known_order.id IS 'The order''s id.';
COMMENT ON COLUMN history.known_order.number IS 'The number that the client is told.';
COMMENT ON COLUMN history.known_order.project IS 'The project that it belongs to.';
COMMENT ON COLUMN history.known_order.conversation IS 'The conversation in which it was placed: project/channel/client.';
COMMENT ON COLUMN history.known_order.client_id IS 'The client who placed it.';
COMMENT ON COLUMN history.known_order.status IS 'draft, confirmed, processing, shipped, delivered, cancelled.';
COMMENT ON COLUMN history.known_order.cancel_reason IS 'Why it was cancelled.';
COMMENT ON COLUMN history.known_order.currency IS 'ISO 4217 code of all its amounts; null without a price.';
COMMENT ON COLUMN history.known_order.subtotal_minor IS 'The sum of the lines, in minor units; null without a price.';
COMMENT ON COLUMN history.known_order.discount_minor IS 'What the discounts take off, in minor units.';
COMMENT ON COLUMN history.known_order.tax_minor IS 'The tax in it or on it, in minor units.';
COMMENT ON COLUMN history.known_order.total_minor IS 'What it costs, in minor units.';
COMMENT ON COLUMN history.known_order.lines IS 'What was ordered: name, quantity, unit_price_minor, sku, unit, tax_bp; fields that are null are left out.';
COMMENT ON COLUMN history.known_order.placed_at IS 'When billing took the order over; event time, which is the order''s own.';
COMMENT ON COLUMN history.known_order.updated_at IS 'When it last changed; event time.';
COMMENT ON COLUMN history.known_order.invoice_id IS 'Its invoice''s id; null where none was issued by then.';
COMMENT ON COLUMN history.known_order.invoice_number IS 'The invoice''s number.';
COMMENT ON COLUMN history.known_order.invoice_status IS 'issued, partly_paid, paid, void.';
COMMENT ON COLUMN history.known_order.invoice_total_minor IS 'What the invoice is over, in minor units.';
COMMENT ON COLUMN history.known_order.paid_minor IS 'What came in and did not go back, in minor units.';
COMMENT ON COLUMN history.known_order.credit_note IS 'The number of the credit note that voids the invoice.';
COMMENT ON COLUMN history.known_order.issued_on IS 'The day of the invoice.';
COMMENT ON COLUMN history.known_order.due_on IS 'The last day to pay.';
COMMENT ON COLUMN history.known_order.invoice_updated_at IS 'When the invoice last changed; event time.';
COMMENT ON COLUMN history.known_order.version IS 'How many events the order''s stream has.';
COMMENT ON COLUMN history.known_order.last_position IS 'The position of the last of them.';
COMMENT ON COLUMN history.known_order.stream IS 'Its stream, order-<id>: a filter on this column is by the index.';

-- Inlined, as conversations_at is. Each order's invoice is found by an index, so there is one walk, for the orders.
CREATE FUNCTION history.orders_at(moment timestamptz) RETURNS SETOF history.known_order
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT substr(folded.stream, 7), (folded.state).number, (folded.state).project, (folded.state).conversation,
           (folded.state).client_id, (folded.state).status, (folded.state).cancel_reason, (folded.state).currency,
           (sums.amounts).subtotal_minor::bigint, (sums.amounts).discount_minor::bigint,
           (sums.amounts).tax_minor::bigint, (sums.amounts).total_minor::bigint, (folded.state).lines,
           (folded.state).placed_at, (folded.state).updated_at, invoice.data ->> 'invoice_id',
           invoice.data ->> 'number',
           CASE WHEN invoice.stream IS NULL THEN NULL
                WHEN money.credit_note IS NOT NULL THEN 'void'
                WHEN money.last_move IS NULL THEN 'issued'
                WHEN money.last_move = 'invoice.paid' OR money.paid_minor = money.total_minor THEN 'paid'
                WHEN money.paid_minor <> 0 THEN 'partly_paid'
                ELSE 'issued' END,
           money.total_minor::bigint, money.paid_minor::bigint, money.credit_note,
           (invoice.data ->> 'issued_on')::date, (invoice.data ->> 'due_on')::date, money.updated_at,
           (folded.state).version, (folded.state).last_position, folded.stream
    FROM (
        SELECT events.stream,
               history.fold_order(version, type, (metadata ->> 'schemaversion')::int, data,
                                  metadata ->> 'conversation', occurred_at, position ORDER BY position) AS state
        FROM ledger.events
        WHERE events.stream LIKE 'order-%' AND version IS NOT NULL AND recorded_at <= moment
        GROUP BY events.stream
    ) AS folded
    CROSS JOIN LATERAL (
        SELECT CASE WHEN (folded.state).currency IS NOT NULL
                         AND NOT jsonb_path_exists((folded.state).lines, '$[*] ? (!exists(@.unit_price_minor))')
                    THEN history.amounts_of((folded.state).lines, (folded.state).discounts, (folded.state).tax_inclusive)
               END AS amounts
        OFFSET 0
    ) AS sums
    LEFT JOIN LATERAL (
        -- An aggregate and not a LIMIT, for which Postgres would rather walk along the positions.
        SELECT (array_agg(issued.stream ORDER BY issued.position))[1] AS stream,
               (array_agg(issued.data ORDER BY issued.position))[1] AS data
        FROM ledger.events AS issued
        WHERE issued.type = 'invoice.issued' AND issued.data ->> 'order_id' = substr(folded.stream, 7)
              AND issued.version IS NOT NULL AND (issued.metadata ->> 'schemaversion')::int <= 2
              AND issued.recorded_at <= moment
    ) AS invoice ON true
    LEFT JOIN LATERAL (
        SELECT history.as_integer(invoice.data -> 'total_minor') AS total_minor,
               coalesce(sum(CASE moved.type WHEN 'payment.recorded' THEN history.as_integer(moved.data -> 'amount_minor')
                                            WHEN 'payment.refunded' THEN -history.as_integer(moved.data -> 'amount_minor')
                            END), 0) AS paid_minor,
               (array_agg(moved.type ORDER BY moved.version DESC)
                    FILTER (WHERE moved.type IN ('payment.recorded', 'payment.refunded', 'invoice.paid')))[1] AS last_move,
               max(moved.data ->> 'credit_note') FILTER (WHERE moved.type = 'invoice.voided') AS credit_note,
               (array_agg(moved.occurred_at ORDER BY moved.version DESC))[1] AS updated_at
        FROM ledger.events AS moved
        WHERE moved.stream = invoice.stream AND moved.version IS NOT NULL AND moved.recorded_at <= moment
    ) AS money ON invoice.stream IS NOT NULL
    WHERE (folded.state).number IS NOT NULL;
END;
COMMENT ON FUNCTION history.orders_at(timestamptz) IS
    'Every order that billing had taken over, as it was known at a recorded time: one row each.';

CREATE FUNCTION history.order_at(order_id text, moment timestamptz) RETURNS SETOF history.known_order
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT known.* FROM history.orders_at(moment) AS known WHERE known.stream = 'order-' || order_at.order_id;
END;
COMMENT ON FUNCTION history.order_at(text, timestamptz) IS
    'One order as it was known at a recorded time, by indexes: one row, or none where billing had not taken it over.';

----------------------------------------------------------------------------------------------------------------------
-- history.messages
----------------------------------------------------------------------------------------------------------------------

-- A message's events are in its stream delivery-<id>, which the index finds for a few messages; for many, Postgres walks
-- through history once and joins. Grouped by position, so that a filter on any column of the request comes first.
CREATE VIEW history.messages WITH (security_invoker = true) AS
SELECT asked.id, 'out'::text AS direction, split_part(asked.metadata ->> 'conversation', '/', 1) AS project,
       asked.data ->> 'channel' AS channel, asked.data ->> 'client_id' AS client_id,
       asked.metadata ->> 'conversation' AS conversation, asked.data ->> 'text' AS text,
       coalesce(asked.data ->> 'purpose', 'reply') AS purpose, asked.data ->> 'regarding' AS regarding,
       CASE WHEN min(told.occurred_at) FILTER (WHERE told.type = 'message.read') IS NOT NULL THEN 'read'
            WHEN min(told.occurred_at) FILTER (WHERE told.type = 'message.delivered') IS NOT NULL THEN 'delivered'
            WHEN min(told.occurred_at) FILTER (WHERE told.type = 'message.undelivered') IS NOT NULL THEN 'undelivered'
            WHEN min(told.occurred_at) FILTER (WHERE told.type = 'message.sent') IS NOT NULL THEN 'sent'
            WHEN min(told.occurred_at) FILTER (WHERE told.type = 'message.failed') IS NOT NULL THEN 'failed'
            WHEN min(told.occurred_at) FILTER (WHERE told.type = 'message.blocked') IS NOT NULL THEN 'blocked'
            WHEN min(dead.occurred_at) IS NOT NULL THEN 'dead'
            ELSE 'requested' END AS status,
       asked.occurred_at, asked.recorded_at,
       min(told.occurred_at) FILTER (WHERE told.type = 'message.sent') AS sent_at,
       min(told.occurred_at) FILTER (WHERE told.type = 'message.delivered') AS delivered_at,
       min(told.occurred_at) FILTER (WHERE told.type = 'message.read') AS read_at,
       min(told.occurred_at) FILTER (WHERE told.type = 'message.undelivered') AS undelivered_at,
       min(told.occurred_at) FILTER (WHERE told.type = 'message.failed') AS failed_at,
       min(told.occurred_at) FILTER (WHERE told.type = 'message.blocked') AS blocked_at,
       coalesce(min(told.data ->> 'reason'), min(dead.data ->> 'reason')) AS reason,
       max(history.as_integer(told.data -> 'attempts')) AS attempts,
       min(told.data ->> 'provider_message_id') AS provider_message_id,
       history.as_uuid(asked.metadata ->> 'causationid') AS cause_id, asked.position, asked.stream
FROM ledger.events AS asked
LEFT JOIN ledger.events AS told ON told.stream = 'delivery-' || asked.id::text AND told.type LIKE 'message.%'
LEFT JOIN ledger.events AS dead ON dead.type = 'record.dead_lettered' AND dead.data ->> 'service' = 'notify'
                                   AND dead.data -> 'headers' ->> 'ce_id' = asked.id::text
WHERE asked.type = 'reply.requested'
GROUP BY asked.position
UNION ALL
SELECT id, 'in', split_part(metadata ->> 'conversation', '/', 1), data ->> 'channel', data ->> 'client_id',
       metadata ->> 'conversation', data ->> 'text', NULL, NULL, 'received', occurred_at, recorded_at,
       NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, data ->> 'provider_message_id',
       history.as_uuid(metadata ->> 'causationid'), position, stream
FROM ledger.events
WHERE type = 'message.received';

COMMENT ON VIEW history.messages IS 'Every message, what clients wrote and what was to be sent to them, and what became of it.';
COMMENT ON COLUMN history.messages.id IS 'The id of message.received, or of reply.requested, which is the delivery''s id.';
COMMENT ON COLUMN history.messages.direction IS 'in: a client wrote; out: something was to be sent.';
COMMENT ON COLUMN history.messages.project IS 'The first part of the conversation.';
COMMENT ON COLUMN history.messages.channel IS 'The channel that it came or goes by.';
COMMENT ON COLUMN history.messages.client_id IS 'The client, by the id that the provider gives.';
COMMENT ON COLUMN history.messages.conversation IS 'project/channel/client.';
COMMENT ON COLUMN history.messages.text IS 'What was written.';
COMMENT ON COLUMN history.messages.purpose IS 'Why it was to be sent: reply, invoice, order_update, payment_due, campaign and so on; null for what came in.';
COMMENT ON COLUMN history.messages.regarding IS 'The stream that asked for it unasked: campaign-<id>, reminder-<id>.';
COMMENT ON COLUMN history.messages.status IS 'How far it came: received; or requested, blocked, failed, dead, sent, undelivered, delivered, read.';
COMMENT ON COLUMN history.messages.occurred_at IS 'Event time: when it came in; of a reply, the time of its cause.';
COMMENT ON COLUMN history.messages.recorded_at IS 'When the ledger took it; recorded time.';
COMMENT ON COLUMN history.messages.sent_at IS 'When the provider took it; event time, as the next five.';
COMMENT ON COLUMN history.messages.delivered_at IS 'When the provider said that it is on the client''s device.';
COMMENT ON COLUMN history.messages.read_at IS 'When the provider said that the client has seen it.';
COMMENT ON COLUMN history.messages.undelivered_at IS 'When the provider said that it did not arrive after all.';
COMMENT ON COLUMN history.messages.failed_at IS 'When it was given up.';
COMMENT ON COLUMN history.messages.blocked_at IS 'When it was held back because the provider would have refused it.';
COMMENT ON COLUMN history.messages.reason IS 'Why it failed, was blocked, did not arrive or became a dead letter.';
COMMENT ON COLUMN history.messages.attempts IS 'How often it was tried until it was sent or given up.';
COMMENT ON COLUMN history.messages.provider_message_id IS 'The provider''s id of it.';
COMMENT ON COLUMN history.messages.cause_id IS 'The event because of which it was to be sent; null for what came in.';
COMMENT ON COLUMN history.messages.position IS 'Its place in history.';
COMMENT ON COLUMN history.messages.stream IS 'conversation-<id>: a filter on this column is by the index.';

CREATE FUNCTION history.messages_of(conversation text) RETURNS SETOF history.messages
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT messages.* FROM history.messages WHERE messages.stream = 'conversation-' || messages_of.conversation;
END;
COMMENT ON FUNCTION history.messages_of(text) IS 'The rows of history.messages of one conversation, by indexes.';

----------------------------------------------------------------------------------------------------------------------
-- history.response_times
----------------------------------------------------------------------------------------------------------------------

CREATE VIEW history.response_times WITH (security_invoker = true) AS
SELECT asked.id AS reply_id, received.id AS message_id, split_part(asked.metadata ->> 'conversation', '/', 1) AS project,
       asked.data ->> 'channel' AS channel, asked.metadata ->> 'conversation' AS conversation,
       received.occurred_at AS received_at, asked.recorded_at AS requested_at,
       sent.occurred_at AS sent_at, delivered.occurred_at AS delivered_at,
       extract(epoch FROM asked.recorded_at - received.recorded_at)::float8 * 1000 AS decide_ms,
       extract(epoch FROM sent.occurred_at - received.occurred_at)::float8 * 1000 AS answer_ms,
       extract(epoch FROM delivered.occurred_at - sent.occurred_at)::float8 * 1000 AS delivery_ms,
       extract(epoch FROM delivered.occurred_at - received.occurred_at)::float8 * 1000 AS total_ms,
       asked.position, asked.stream
FROM ledger.events AS asked
JOIN ledger.events AS received ON received.id = history.as_uuid(asked.metadata ->> 'causationid')
                                  AND received.type = 'message.received'
LEFT JOIN ledger.events AS sent ON sent.stream = 'delivery-' || asked.id::text AND sent.type = 'message.sent'
LEFT JOIN ledger.events AS delivered ON delivered.stream = 'delivery-' || asked.id::text
                                        AND delivered.type = 'message.delivered'
WHERE asked.type = 'reply.requested' AND coalesce(asked.data ->> 'purpose', 'reply') = 'reply';

COMMENT ON VIEW history.response_times IS 'How long every answer to a client''s message took, step by step.';
COMMENT ON COLUMN history.response_times.reply_id IS 'The id of reply.requested.';
COMMENT ON COLUMN history.response_times.message_id IS 'The id of the message.received that it answers.';
COMMENT ON COLUMN history.response_times.project IS 'The first part of the conversation.';
COMMENT ON COLUMN history.response_times.channel IS 'The channel that it goes by.';
COMMENT ON COLUMN history.response_times.conversation IS 'project/channel/client.';
COMMENT ON COLUMN history.response_times.received_at IS 'When the message came in; event time, by the clock of the ingress.';
COMMENT ON COLUMN history.response_times.requested_at IS 'When the reply was recorded; recorded time, because deciding has no clock.';
COMMENT ON COLUMN history.response_times.sent_at IS 'When the provider took it; event time, by the clock of notify. Null where it was not sent.';
COMMENT ON COLUMN history.response_times.delivered_at IS 'When the provider said that it was delivered; event time, by the clock of the ingress.';
COMMENT ON COLUMN history.response_times.decide_ms IS 'From message recorded to reply recorded, in milliseconds: both by the recorder, which takes events in batches.';
COMMENT ON COLUMN history.response_times.answer_ms IS 'From message received to reply taken by the provider, in milliseconds.';
COMMENT ON COLUMN history.response_times.delivery_ms IS 'From taken by the provider to delivered, in milliseconds.';
COMMENT ON COLUMN history.response_times.total_ms IS 'From message received to reply delivered, in milliseconds.';
COMMENT ON COLUMN history.response_times.position IS 'The reply''s place in history.';
COMMENT ON COLUMN history.response_times.stream IS 'conversation-<id>: a filter on this column is by the index.';

CREATE VIEW history.response_times_by_hour WITH (security_invoker = true) AS
SELECT project, date_trunc('hour', received_at, 'UTC') AS hour, count(*) AS replies, count(sent_at) AS sent,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY answer_ms) AS answer_ms_p50,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY answer_ms) AS answer_ms_p95,
       percentile_cont(0.99) WITHIN GROUP (ORDER BY answer_ms) AS answer_ms_p99,
       max(answer_ms) AS answer_ms_max,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY delivery_ms) AS delivery_ms_p50,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY delivery_ms) AS delivery_ms_p95
FROM history.response_times
GROUP BY 1, 2;

COMMENT ON VIEW history.response_times_by_hour IS 'history.response_times in percentiles, by project and hour.';
COMMENT ON COLUMN history.response_times_by_hour.project IS 'The first part of the conversation.';
COMMENT ON COLUMN history.response_times_by_hour.hour IS 'The hour, in UTC, in which the messages came in.';
COMMENT ON COLUMN history.response_times_by_hour.replies IS 'How many replies were asked for.';
COMMENT ON COLUMN history.response_times_by_hour.sent IS 'How many of them the provider took.';
COMMENT ON COLUMN history.response_times_by_hour.answer_ms_p50 IS 'Half of the answers took at most so long, in milliseconds.';
COMMENT ON COLUMN history.response_times_by_hour.answer_ms_p95 IS 'Of 100 answers 95 took at most so long, in milliseconds.';
COMMENT ON COLUMN history.response_times_by_hour.answer_ms_p99 IS 'Of 100 answers 99 took at most so long, in milliseconds.';
COMMENT ON COLUMN history.response_times_by_hour.answer_ms_max IS 'The slowest answer, in milliseconds.';
COMMENT ON COLUMN history.response_times_by_hour.delivery_ms_p50 IS 'Half of the deliveries took at most so long, in milliseconds.';
COMMENT ON COLUMN history.response_times_by_hour.delivery_ms_p95 IS 'Of 100 deliveries 95 took at most so long, in milliseconds.';

----------------------------------------------------------------------------------------------------------------------
-- history.funnel
----------------------------------------------------------------------------------------------------------------------

-- A walk through all of history and a fold of every conversation: a session is known by the starts before it.
CREATE VIEW history.funnel WITH (security_invoker = true) AS
WITH steps AS (
    SELECT * FROM history.steps WHERE session > 0
), sessions AS (
    SELECT project, flow, stream, session,
           (min(occurred_at) FILTER (WHERE type = 'conversation.started') AT TIME ZONE 'UTC')::date AS day,
           bool_or(type = 'address.given') AS gave_address,
           bool_or(type = 'phone.given') AS gave_phone,
           bool_or(type = 'quantity.given') AS gave_quantity,
           bool_or(type = 'cart.items_added') AS filled_cart,
           bool_or(type = 'cart.choice_asked') AS had_to_choose,
           bool_or(status = 'WAITING_CONFIRMATION') AS was_asked_to_confirm,
           bool_or(type = 'order.placed') AS placed,
           bool_or(type = 'order.cancelled') AS cancelled,
           bool_or(type = 'cart.abandoned') AS abandoned,
           bool_or(type = 'conversation.expired') AS expired,
           bool_or(type = 'conversation.handoff_requested') AS handed_off,
           bool_or(type = 'answer.rejected' OR type = 'cart.items_refused') AS was_refused
    FROM steps
    GROUP BY 1, 2, 3, 4
), by_session AS (
    SELECT project, flow, day, count(*) AS started, count(DISTINCT stream) AS clients,
           count(*) FILTER (WHERE gave_address) AS address_given,
           count(*) FILTER (WHERE gave_phone) AS phone_given,
           count(*) FILTER (WHERE gave_quantity) AS quantity_given,
           count(*) FILTER (WHERE filled_cart) AS cart_filled,
           count(*) FILTER (WHERE had_to_choose) AS choice_asked,
           count(*) FILTER (WHERE was_asked_to_confirm) AS confirmation_asked,
           count(*) FILTER (WHERE placed) AS ordered,
           count(*) FILTER (WHERE cancelled) AS cancelled,
           count(*) FILTER (WHERE abandoned) AS cart_abandoned,
           count(*) FILTER (WHERE expired) AS expired,
           count(*) FILTER (WHERE handed_off) AS handed_off,
           count(*) FILTER (WHERE was_refused) AS answer_refused
    FROM sessions
    GROUP BY 1, 2, 3
), invoices AS (
    SELECT issued.data ->> 'order_id' AS order_id, count(paid.id) > 0 AS paid
    FROM ledger.events AS issued
    LEFT JOIN ledger.events AS paid ON paid.stream = issued.stream AND paid.type = 'invoice.paid'
    WHERE issued.type = 'invoice.issued'
    GROUP BY 1
), changes AS (
    SELECT substr(stream, 7) AS order_id, bool_or(type = 'order.confirmed') AS confirmed,
           bool_or(type = 'order.cancelled') AS cancelled
    FROM ledger.events
    WHERE type IN ('order.confirmed', 'order.cancelled') AND stream LIKE 'order-%'
    GROUP BY 1
), by_order AS (
    SELECT sessions.project, sessions.flow, sessions.day, count(*) AS orders,
           count(*) FILTER (WHERE changes.confirmed) AS orders_confirmed,
           count(*) FILTER (WHERE invoices.order_id IS NOT NULL) AS orders_invoiced,
           count(*) FILTER (WHERE invoices.paid) AS orders_paid,
           count(*) FILTER (WHERE changes.cancelled) AS orders_cancelled
    FROM steps
    JOIN sessions USING (stream, session)
    LEFT JOIN changes USING (order_id)
    LEFT JOIN invoices USING (order_id)
    WHERE steps.type = 'order.placed'
    GROUP BY 1, 2, 3
)
SELECT by_session.project, by_session.flow, by_session.day, started, clients, address_given, phone_given, quantity_given,
       cart_filled, choice_asked, answer_refused, confirmation_asked, ordered, cancelled, cart_abandoned, handed_off,
       expired, coalesce(orders, 0) AS orders, coalesce(orders_confirmed, 0) AS orders_confirmed,
       coalesce(orders_invoiced, 0) AS orders_invoiced, coalesce(orders_paid, 0) AS orders_paid,
       coalesce(orders_cancelled, 0) AS orders_cancelled
FROM by_session
LEFT JOIN by_order ON by_order.project = by_session.project AND by_order.day = by_session.day
                      AND by_order.flow IS NOT DISTINCT FROM by_session.flow;

COMMENT ON VIEW history.funnel IS 'How far the sessions came that began on a day, by project and flow: counts of sessions, then of their orders.';
COMMENT ON COLUMN history.funnel.project IS 'The first part of the conversation.';
COMMENT ON COLUMN history.funnel.flow IS 'The flow of the sessions.';
COMMENT ON COLUMN history.funnel.day IS 'The day, in UTC, on which the sessions began; what came of them later counts for this day too.';
COMMENT ON COLUMN history.funnel.started IS 'Sessions that began.';
COMMENT ON COLUMN history.funnel.clients IS 'Conversations that they belong to.';
COMMENT ON COLUMN history.funnel.address_given IS 'Sessions with an address.';
COMMENT ON COLUMN history.funnel.phone_given IS 'Sessions with a phone number.';
COMMENT ON COLUMN history.funnel.quantity_given IS 'Sessions with a quantity.';
COMMENT ON COLUMN history.funnel.cart_filled IS 'Sessions in which something went into a cart.';
COMMENT ON COLUMN history.funnel.choice_asked IS 'Sessions in which the client had to say which of several products was meant.';
COMMENT ON COLUMN history.funnel.answer_refused IS 'Sessions in which an answer, or a line of a product list, could not be taken.';
COMMENT ON COLUMN history.funnel.confirmation_asked IS 'Sessions that came to the question whether the order is right.';
COMMENT ON COLUMN history.funnel.ordered IS 'Sessions in which an order was placed.';
COMMENT ON COLUMN history.funnel.cancelled IS 'Sessions that the client cancelled before an order.';
COMMENT ON COLUMN history.funnel.cart_abandoned IS 'Sessions in which a filled cart was left alone for the project''s time.';
COMMENT ON COLUMN history.funnel.handed_off IS 'Sessions that a person was asked to take over.';
COMMENT ON COLUMN history.funnel.expired IS 'Sessions that ended in silence; one in which an order was placed before can be among them.';
COMMENT ON COLUMN history.funnel.orders IS 'Orders that were placed in these sessions.';
COMMENT ON COLUMN history.funnel.orders_confirmed IS 'Orders of these that billing confirmed.';
COMMENT ON COLUMN history.funnel.orders_invoiced IS 'Orders of these that were invoiced.';
COMMENT ON COLUMN history.funnel.orders_paid IS 'Orders of these whose invoice was paid at some time.';
COMMENT ON COLUMN history.funnel.orders_cancelled IS 'Orders of these that billing cancelled.';

----------------------------------------------------------------------------------------------------------------------
-- Rights: reading, for the reader's role alone
----------------------------------------------------------------------------------------------------------------------

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA history FROM PUBLIC;
GRANT USAGE ON SCHEMA history TO chatledger_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA history TO chatledger_reader;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA history TO chatledger_reader;
