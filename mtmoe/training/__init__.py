"""Training: a run from its first step to its last, its optimizers, losses and metrics."""
