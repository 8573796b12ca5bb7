-- The last number that a reminder was given, whether or not it is still there.
SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('outreach.reminders', 'number')::regclass), 0)
