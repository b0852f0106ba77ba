"""Distributed training: a mesh of processes, experts and groups spread over it, gradients, sharded checkpoints.

Every collective has a name, by which the watchdog tells who keeps the others waiting. The model knows nothing of it.
"""
