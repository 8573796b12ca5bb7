-- One client.
SELECT name, language, time_zone FROM outreach.clients WHERE conversation = %s
