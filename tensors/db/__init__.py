"""The library's database: model files on disk, and what CivitAI knows about them."""
