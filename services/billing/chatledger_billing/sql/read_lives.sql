-- How far each partition was read, in every life of the broker; a name is incarnation:topic:partition.
SELECT application_name, notification_id FROM billing.aggregate_tracking WHERE application_name LIKE '%:%:%'
