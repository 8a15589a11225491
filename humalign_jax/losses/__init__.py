"""Losses: pure functions of arrays, one value per example."""

from humalign_jax.losses.classification import cross_entropy as cross_entropy
from humalign_jax.losses.classification import smooth_labels as smooth_labels
from humalign_jax.losses.distillation import distillation_kl as distillation_kl
from humalign_jax.losses.neural import pattern_correlation_loss as pattern_correlation_loss
from humalign_jax.losses.neural import voxel_mse as voxel_mse
from humalign_jax.losses.reconstruction import l1 as l1
from humalign_jax.losses.reconstruction import mse as mse
from humalign_jax.losses.similarity import psnr as psnr
from humalign_jax.losses.similarity import ssim as ssim
from humalign_jax.losses.variational import gaussian_kl as gaussian_kl
