"""Experiments, one per file: `run(config, workdir)`. Here models, data, objectives and people meet."""
