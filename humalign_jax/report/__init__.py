"""Figures, tables and pages, made of files that runs left behind; the only place with matplotlib."""
