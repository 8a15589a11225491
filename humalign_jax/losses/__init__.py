"""Losses: pure functions of arrays, one value per example."""

from humalign_jax.losses.classification import cross_entropy as cross_entropy
from humalign_jax.losses.classification import smooth_labels as smooth_labels
from humalign_jax.losses.reconstruction import l1 as l1
from humalign_jax.losses.reconstruction import mse as mse
from humalign_jax.losses.similarity import psnr as psnr
from humalign_jax.losses.similarity import ssim as ssim
from humalign_jax.losses.variational import gaussian_kl as gaussian_kl
