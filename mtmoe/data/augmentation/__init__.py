"""Training pairs as people type them, drawn by (seed, epoch, pair) when their batch is made."""
