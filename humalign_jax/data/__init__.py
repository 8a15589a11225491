"""Sources of images and labels in their published order, splits of them, and preprocessing."""

from humalign_jax.data.cifar10 import load_cifar10
from humalign_jax.data.image_folder import load_image_folder
from humalign_jax.data.mnist import load_mnist
from humalign_jax.data.sources import SOURCES, load
from humalign_jax.data.splits import stratified_folds, stratified_split
from humalign_jax.data.synthetic import (
    CATEGORY_DISSIMILARITY,
    load_synthetic,
    simulate_annotations,
    simulate_triplets,
    true_rdm,
)

__all__ = [
    'CATEGORY_DISSIMILARITY',
    'SOURCES',
    'load',
    'load_cifar10',
    'load_image_folder',
    'load_mnist',
    'load_synthetic',
    'simulate_annotations',
    'simulate_triplets',
    'stratified_folds',
    'stratified_split',
    'true_rdm',
]
