"""The parts of benchmarks/gpu.py, each a function of one `setting.Setting`."""
