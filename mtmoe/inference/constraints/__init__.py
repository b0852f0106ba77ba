"""Constraints: decoding rules, and what lines require of their translations."""
