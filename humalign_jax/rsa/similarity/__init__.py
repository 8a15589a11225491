"""Similarity of two RDMs or of two feature sets, and its noise ceiling."""
