"""Representational similarity analysis of arrays: distances, RDMs, comparisons, ceilings and inference."""

from humalign_jax.rsa.distances import DISTANCES as DISTANCES
from humalign_jax.rsa.distances import Distance as Distance
from humalign_jax.rsa.rdm import rdm as rdm
from humalign_jax.rsa.tiles import StimulusCounts as StimulusCounts
