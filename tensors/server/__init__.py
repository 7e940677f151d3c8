"""The HTTP face of tsr."""
