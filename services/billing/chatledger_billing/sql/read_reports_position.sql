-- Read how far the notification log was reported.
SELECT position FROM billing.reports WHERE name = 'chat.inbound'
