"""CivitAI: its records, and how to ask for them."""
