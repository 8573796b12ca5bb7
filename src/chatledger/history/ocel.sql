-- An object-centric event log: the tables of OCEL 2.0 in SQLite that do not depend on the types in it.
-- https://www.ocel-standard.org/specification/formats/sqlite/

-- name: event_map_type
CREATE TABLE event_map_type (ocel_type TEXT NOT NULL PRIMARY KEY, ocel_type_map TEXT NOT NULL UNIQUE)

-- name: object_map_type
CREATE TABLE object_map_type (ocel_type TEXT NOT NULL PRIMARY KEY, ocel_type_map TEXT NOT NULL UNIQUE)

-- name: event
-- What has no key here gets it when all rows are there (unique_event and the like): sorted once, not row by row.
CREATE TABLE event (ocel_id TEXT NOT NULL, ocel_type TEXT NOT NULL REFERENCES event_map_type (ocel_type))

-- name: object
CREATE TABLE object (
    ocel_id TEXT NOT NULL PRIMARY KEY,
    ocel_type TEXT NOT NULL REFERENCES object_map_type (ocel_type)
)

-- name: event_object
CREATE TABLE event_object (
    ocel_event_id TEXT NOT NULL REFERENCES event (ocel_id),
    ocel_object_id TEXT NOT NULL REFERENCES object (ocel_id),
    ocel_qualifier TEXT NOT NULL
)

-- name: object_object
CREATE TABLE object_object (
    ocel_source_id TEXT NOT NULL REFERENCES object (ocel_id),
    ocel_target_id TEXT NOT NULL REFERENCES object (ocel_id),
    ocel_qualifier TEXT NOT NULL,
    PRIMARY KEY (ocel_source_id, ocel_target_id, ocel_qualifier)
)

-- name: cause
-- Which event caused which: a message is told of only when all of them are there.
CREATE TEMPORARY TABLE cause (event_id TEXT NOT NULL, message_id TEXT NOT NULL)

-- name: unique_event
CREATE UNIQUE INDEX event_key ON event (ocel_id)

-- name: unique_event_object
CREATE UNIQUE INDEX event_object_key ON event_object (ocel_event_id, ocel_object_id, ocel_qualifier)

-- name: add_causes
INSERT OR IGNORE INTO event_object (ocel_event_id, ocel_object_id, ocel_qualifier)
SELECT event_id, message_id, 'caused by'
FROM cause
WHERE EXISTS (SELECT message.ocel_id FROM object AS message WHERE message.ocel_id = message_id)
      AND NOT EXISTS (
          SELECT related.ocel_event_id FROM event_object AS related
          WHERE related.ocel_event_id = event_id AND related.ocel_object_id = message_id
      )

-- name: invoice
-- What is known of an invoice so far: its total, what was paid of it, its status.
SELECT max(total_minor) FILTER (WHERE ocel_changed_field IS NULL),
       (SELECT paid_minor FROM object_invoice WHERE ocel_id = :id AND ocel_changed_field = 'paid_minor'
        ORDER BY rowid DESC LIMIT 1),
       (SELECT status FROM object_invoice WHERE ocel_id = :id AND ocel_changed_field = 'status'
        ORDER BY rowid DESC LIMIT 1)
FROM object_invoice
WHERE ocel_id = :id

-- name: invoice_changes
-- To find what an invoice was paid so far.
CREATE INDEX object_invoice_changes ON object_invoice (ocel_id)
