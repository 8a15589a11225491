"""Representational similarity analysis of arrays: distances, RDMs, comparisons, ceilings and inference."""

from humalign_jax.rsa.ceiling import Ceiling as Ceiling
from humalign_jax.rsa.ceiling import SplitHalf as SplitHalf
from humalign_jax.rsa.ceiling import noise_ceiling as noise_ceiling
from humalign_jax.rsa.ceiling import split_counts as split_counts
from humalign_jax.rsa.ceiling import split_half as split_half
from humalign_jax.rsa.compare import INDICES as INDICES
from humalign_jax.rsa.compare import compare as compare
from humalign_jax.rsa.distances import DISTANCES as DISTANCES
from humalign_jax.rsa.distances import Distance as Distance
from humalign_jax.rsa.inference import InferenceResult as InferenceResult
from humalign_jax.rsa.inference import infer as infer
from humalign_jax.rsa.models import Fixed as Fixed
from humalign_jax.rsa.models import Interpolated as Interpolated
from humalign_jax.rsa.models import Selected as Selected
from humalign_jax.rsa.models import Weighted as Weighted
from humalign_jax.rsa.pairs import align as align
from humalign_jax.rsa.pairs import between_category as between_category
from humalign_jax.rsa.pairs import category_rdm as category_rdm
from humalign_jax.rsa.pairs import select as select
from humalign_jax.rsa.pairs import within_category as within_category
from humalign_jax.rsa.ranks import average_ranks as average_ranks
from humalign_jax.rsa.ranks import spearman as spearman
from humalign_jax.rsa.rdm import rdm as rdm
from humalign_jax.rsa.stream import FeatureComparison as FeatureComparison
from humalign_jax.rsa.stream import compare_features as compare_features
from humalign_jax.rsa.tiles import StimulusCounts as StimulusCounts
