-- The events of one aggregate, oldest first, as far as the read model has them.
SELECT originator_version, topic, state
FROM billing.aggregate_events
WHERE originator_id = %(stream)s AND originator_version <= %(version)s
ORDER BY originator_version
