"""Distances of two stimuli, and RDMs of them, computed tile by tile."""
