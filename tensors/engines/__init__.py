"""Places where an engine runs, and the one client that talks to it."""
