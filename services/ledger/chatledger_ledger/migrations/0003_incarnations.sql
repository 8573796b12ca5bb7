-- Which records belong to which life of the broker: offsets begin anew with each, and a row of ledger.events does not
-- say in which it was read. A row of this life of the broker stands after `after_position`, one of an earlier life not.

ALTER TABLE ledger.positions ADD COLUMN after_position bigint, ADD COLUMN since timestamptz;

-- Where a partition was recorded in one life only, all of it is of that one. Where there were several, the offsets went
-- back when the last one began, and that life is the one whose position fits the last row. It is the best that can be
-- known afterwards: lives of which nothing was recorded leave no trace.
WITH steps AS (
    SELECT topic, partition, position, source_offset,
           lag(source_offset) OVER (PARTITION BY topic, partition ORDER BY position) AS offset_before
    FROM ledger.events
    WHERE (topic, partition) IN (SELECT topic, partition FROM ledger.positions GROUP BY topic, partition HAVING count(*) > 1)
), begun AS (
    SELECT topic, partition, coalesce(max(position) FILTER (WHERE source_offset <= offset_before), 1) - 1 AS after_position,
           (array_agg(source_offset ORDER BY position DESC))[1] AS last_offset
    FROM steps
    GROUP BY topic, partition
), newest AS (
    SELECT DISTINCT ON (topic, partition) incarnation, topic, partition, begun.after_position
    FROM begun JOIN ledger.positions USING (topic, partition)
    WHERE next_offset > last_offset
    ORDER BY topic, partition, next_offset
)
UPDATE ledger.positions AS known
SET after_position = newest.after_position
FROM newest
WHERE (known.incarnation, known.topic, known.partition) = (newest.incarnation, newest.topic, newest.partition);

UPDATE ledger.positions SET after_position = coalesce(after_position, 0), since = '-infinity';
ALTER TABLE ledger.positions ALTER COLUMN after_position SET NOT NULL, ALTER COLUMN since SET NOT NULL;

COMMENT ON COLUMN ledger.positions.after_position IS
    'The last position of the ledger when this partition was first recorded in this life of the broker.';
COMMENT ON COLUMN ledger.positions.since IS 'When that was: of two lives with the same after_position, the later is the newer.';

-- Whoever makes the row holds the ledger's lock, so that nothing is recorded between this look and the row.
CREATE FUNCTION ledger.note_incarnation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.after_position := (SELECT coalesce(max(position), 0) FROM ledger.events);
    NEW.since := clock_timestamp();
    RETURN NEW;
END
$$;

CREATE TRIGGER positions_note_incarnation BEFORE INSERT ON ledger.positions
    FOR EACH ROW EXECUTE FUNCTION ledger.note_incarnation();
