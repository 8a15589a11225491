"""RSA of tens of thousands of stimuli: neither RDMs nor bootstrap samples are held."""
