"""The sections of the page: one file per kind of score, found by listing this folder."""
