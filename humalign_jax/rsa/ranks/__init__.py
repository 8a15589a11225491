"""Exact average ranks, of stored values and of billions that are never stored."""
