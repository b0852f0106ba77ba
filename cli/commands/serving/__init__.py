"""The server, and keys for it."""
