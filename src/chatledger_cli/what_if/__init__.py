"""What `chatledger what-if` is made of: a process that asks and shows, and one that runs the changed code."""
