"""What parts of a network carry: measured on any function of the right form, without training."""
