-- The last number that a campaign was given, whether or not it is still there.
SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('outreach.campaigns', 'number')::regclass), 0)
