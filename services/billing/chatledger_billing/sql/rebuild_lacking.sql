-- How many events of a piece of the notification log the ledger does not have yet. A register's are never published.
SELECT count(*)
FROM billing.aggregate_events AS own
WHERE own.notification_id > %(after)s AND own.notification_id <= %(until)s AND own.topic <> %(register)s
  AND NOT EXISTS (
      SELECT FROM ledger.events AS kept
      WHERE kept.stream = own.originator_id AND kept.version = own.originator_version
  )
