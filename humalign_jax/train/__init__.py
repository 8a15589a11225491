"""Training: state, step, optimisers, loop, checkpoints and records."""
