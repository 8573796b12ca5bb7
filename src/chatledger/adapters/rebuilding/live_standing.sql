-- How far a live read model has come, and what the ledger lacks of it. Names in braces are filled in.

-- name: standing
-- Of each partition in the broker's present life: after which position its rows stand, and the next offset that the live
-- read model has not seen. A partition that is not here was recorded in earlier lives alone.
WITH present AS (
    SELECT incarnation FROM ledger.positions GROUP BY incarnation ORDER BY max(after_position) DESC, max(since) DESC LIMIT 1
)
SELECT kept.topic, kept.partition, kept.after_position, coalesce(live.next_offset, 0)
FROM present
JOIN ledger.positions AS kept USING (incarnation)
LEFT JOIN {positions} AS live USING (incarnation, topic, partition)
WHERE kept.topic = ANY(%(topics)s)

-- name: seen
-- How far the live read model is. What an earlier life of the broker took with it unrecorded is lost, and not waited for.
WITH present AS (
    SELECT incarnation FROM ledger.positions GROUP BY incarnation ORDER BY max(after_position) DESC, max(since) DESC LIMIT 1
)
SELECT live.incarnation, live.topic, live.partition, live.next_offset
FROM {positions} AS live
WHERE live.topic = ANY(%(topics)s)
  AND (live.incarnation IN (SELECT incarnation FROM present)
       OR live.incarnation NOT IN (SELECT incarnation FROM ledger.positions))

-- name: behind
-- The partitions of which less was recorded than that, and by how much.
SELECT live.topic, live.partition, live.next_offset - coalesce(kept.next_offset, 0)
FROM unnest(%(incarnations)s::text[], %(topics)s::text[], %(partitions)s::int[], %(offsets)s::bigint[])
    AS live (incarnation, topic, partition, next_offset)
LEFT JOIN ledger.positions AS kept USING (incarnation, topic, partition)
WHERE live.next_offset > coalesce(kept.next_offset, 0)
ORDER BY live.topic, live.partition

-- name: journal_end
-- The newest event of a service's own.
SELECT coalesce(max(position), 0) FROM {journal}

-- name: not_recorded
-- How many of a service's own events, from one position to another, the ledger does not have yet.
SELECT count(*)
FROM {journal} AS own
WHERE own.position > %(after)s AND own.position <= %(until)s AND own.type = ANY(%(types)s)
  AND NOT EXISTS (SELECT FROM ledger.events AS kept WHERE kept.id = own.id::uuid)
