"""How alike two RDMs or two feature sets are, and the noise ceiling of such a similarity."""
