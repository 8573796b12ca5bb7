"""Says things unasked: reminders and campaigns, each at its time, to the clients that they are for."""
