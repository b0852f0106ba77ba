"""Mixture-of-experts layer: gating/ chooses experts for each token, experts.py computes them, moe_layer.py has both.

Matrix products of the experts have one module for CPUs and one for GPUs.
"""
