"""Drawings of finished records into matplotlib axes."""
