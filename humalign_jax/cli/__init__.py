"""The commands `humalign` and `humalign-sweep`."""
