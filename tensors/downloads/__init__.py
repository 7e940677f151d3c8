"""From the name of a model to a checked file on disk."""
