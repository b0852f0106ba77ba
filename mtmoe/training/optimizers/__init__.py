"""Optimizers, with what belongs to an update: learning rate, clipping, rounding, the average of the weights."""
