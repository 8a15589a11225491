"""Representational similarity analysis of arrays: distances, RDMs, comparisons, ceilings and inference.

This is the whole public interface: other packages import from `humalign_jax.rsa` alone, never from its rooms.
`files` reads and writes features and RDMs, `pairs` joins them by stimulus id, `class_level` compares classes.
Examples in docstrings begin after `import numpy as np` and `from humalign_jax import rsa`.
"""

from humalign_jax.records import Features as Features
from humalign_jax.records import Rdm as Rdm
from humalign_jax.rsa import files as files
from humalign_jax.rsa import pairs as pairs
from humalign_jax.rsa.distances.mds import classical_mds as classical_mds
from humalign_jax.rsa.distances.mds import stress as stress
from humalign_jax.rsa.distances.measures import DISTANCES as DISTANCES
from humalign_jax.rsa.distances.measures import Distance as Distance
from humalign_jax.rsa.distances.noise import ledoit_wolf as ledoit_wolf
from humalign_jax.rsa.distances.noise import noise_covariance as noise_covariance
from humalign_jax.rsa.distances.rdm import defined_stimuli as defined_stimuli
from humalign_jax.rsa.distances.rdm import rdm as rdm
from humalign_jax.rsa.distances.tiles import StimulusCounts as StimulusCounts
from humalign_jax.rsa.distances.tsne import TSNE_MEASURES as TSNE_MEASURES
from humalign_jax.rsa.distances.tsne import tsne as tsne
from humalign_jax.rsa.file_sets import load_models as load_models
from humalign_jax.rsa.file_sets import load_subjects as load_subjects
from humalign_jax.rsa.file_sets import same_stimuli as same_stimuli
from humalign_jax.rsa.inference.bootstrap import Bootstrap as Bootstrap
from humalign_jax.rsa.inference.bootstrap import bootstrap as bootstrap
from humalign_jax.rsa.inference.infer import infer as infer
from humalign_jax.rsa.inference.inputs import OVER as OVER
from humalign_jax.rsa.inference.inputs import check_inference as check_inference
from humalign_jax.rsa.inference.models import Fixed as Fixed
from humalign_jax.rsa.inference.models import Interpolated as Interpolated
from humalign_jax.rsa.inference.models import Selected as Selected
from humalign_jax.rsa.inference.models import Weighted as Weighted
from humalign_jax.rsa.inference.resample import bootstrap_weights as bootstrap_weights
from humalign_jax.rsa.inference.result import InferenceResult as InferenceResult
from humalign_jax.rsa.inference.significance import difference_p as difference_p
from humalign_jax.rsa.inference.significance import fisher_interval as fisher_interval
from humalign_jax.rsa.inference.significance import pair_matrix as pair_matrix
from humalign_jax.rsa.large import class_level as class_level
from humalign_jax.rsa.large.influence import InfluenceResult as InfluenceResult
from humalign_jax.rsa.large.influence import InfluenceScore as InfluenceScore
from humalign_jax.rsa.large.influence import Reference as Reference
from humalign_jax.rsa.large.influence import infer_by_influence as infer_by_influence
from humalign_jax.rsa.large.influence import summarise_influence as summarise_influence
from humalign_jax.rsa.large.stream import FeatureComparison as FeatureComparison
from humalign_jax.rsa.large.stream import compare_features as compare_features
from humalign_jax.rsa.pairs import align as align
from humalign_jax.rsa.pairs import between_category as between_category
from humalign_jax.rsa.pairs import category_rdm as category_rdm
from humalign_jax.rsa.pairs import select as select
from humalign_jax.rsa.pairs import within_category as within_category
from humalign_jax.rsa.ranks.average import average_ranks as average_ranks
from humalign_jax.rsa.ranks.average import spearman as spearman
from humalign_jax.rsa.similarity.ceiling import PAIRS as PAIRS
from humalign_jax.rsa.similarity.ceiling import Ceiling as Ceiling
from humalign_jax.rsa.similarity.ceiling import SplitHalf as SplitHalf
from humalign_jax.rsa.similarity.ceiling import agreements as agreements
from humalign_jax.rsa.similarity.ceiling import halves_and_quarters as halves_and_quarters
from humalign_jax.rsa.similarity.ceiling import noise_ceiling as noise_ceiling
from humalign_jax.rsa.similarity.ceiling import split_counts as split_counts
from humalign_jax.rsa.similarity.ceiling import split_half as split_half
from humalign_jax.rsa.similarity.ceiling import subject_ceilings as subject_ceilings
from humalign_jax.rsa.similarity.cka import linear_cka as linear_cka
from humalign_jax.rsa.similarity.class_separation import class_separation as class_separation
from humalign_jax.rsa.similarity.compare import compare as compare
from humalign_jax.rsa.similarity.geometry import FEATURE_INDICES as FEATURE_INDICES
from humalign_jax.rsa.similarity.geometry import participation_ratio as participation_ratio
from humalign_jax.rsa.similarity.geometry import procrustes_align as procrustes_align
from humalign_jax.rsa.similarity.geometry import procrustes_distance as procrustes_distance
from humalign_jax.rsa.similarity.geometry import procrustes_similarity as procrustes_similarity
from humalign_jax.rsa.similarity.geometry import rv_coefficient as rv_coefficient
from humalign_jax.rsa.similarity.indices import INDICES as INDICES
from humalign_jax.rsa.similarity.indices import Index as Index
from humalign_jax.rsa.similarity.indices import index_named as index_named
from humalign_jax.rsa.similarity.intrinsic_dimension import two_nn as two_nn
from humalign_jax.rsa.similarity.kernels import rbf_cka as rbf_cka
