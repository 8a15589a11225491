"""What people answered: soft labels, counts, triplets, ratings and voxels, with the ids of their stimuli."""
