-- Projects that clients belong to, but for some.
SELECT DISTINCT project FROM outreach.clients WHERE project <> ALL(%s) ORDER BY project
