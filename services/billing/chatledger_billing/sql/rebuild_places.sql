-- The places of some events in the notification log.
SELECT kept.originator_id, kept.originator_version, kept.notification_id
FROM unnest(%(streams)s::text[], %(versions)s::bigint[]) AS wanted (stream, version)
JOIN billing.aggregate_events AS kept
    ON kept.originator_id = wanted.stream AND kept.originator_version = wanted.version
