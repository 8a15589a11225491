"""Intervals, tests and differences of models for new stimuli, new subjects or both."""
