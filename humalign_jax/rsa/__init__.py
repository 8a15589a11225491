"""Representational similarity analysis of arrays: distances, RDMs, comparisons, ceilings and inference."""

from humalign_jax.rsa.distances import DISTANCES as DISTANCES
from humalign_jax.rsa.distances import Distance as Distance
from humalign_jax.rsa.ranks import average_ranks as average_ranks
from humalign_jax.rsa.ranks import spearman as spearman
from humalign_jax.rsa.rdm import rdm as rdm
from humalign_jax.rsa.stream import FeatureComparison as FeatureComparison
from humalign_jax.rsa.stream import compare_features as compare_features
from humalign_jax.rsa.tiles import StimulusCounts as StimulusCounts
