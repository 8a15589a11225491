r"""Evaluation of a trained VAE: reconstructions, samples, traversals, interpolations, and categories in its code.

    python -m humalign_jax.main --config=configs/latents.py --config.run=runs/vae --workdir=runs/latents
    python -m humalign_jax.main --config=configs/latents.py:tiny    # seconds; makes runs/vae-tiny first

Leaves scores.jsonl, arrays and figures/ in the workdir. The pictures show images of the data set, under its licence.
"""

import ml_collections


def get_config(size: str = 'full') -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.experiment = 'latents'  # humalign_jax/experiments/latents.py
    c.seed = 0
    c.run = 'runs/vae'  # the --workdir of a run of configs/vae.py
    c.checkpoint = 'best'  # 'best' by validation, 'newest', or a step
    # Of a VAE trained elsewhere, in place of run: a folder of each split with mu, logvar (optional) and labels; dataset
    # says what rows of files without ids are, such as 'cifar10': whole splits, in the published order (docs/study.md).
    c.codes = dict(train='', validation='', test='', dataset='')
    c.name = 'vae'  # what scores call the model
    c.activity = dict(kl_nats=0.01, mean_variance=0.01)  # a latent with more than this is active
    c.pictures = dict(
        n_per_class=3,  # test images of each class above their reconstructions
        n_samples=80,  # of the prior
        n_traversed=2,  # images whose latents are moved
        n_dimensions=10,  # most active latents, by KL
        steps=(-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0),  # added to mu, in standard deviations of the prior
        n_pairs=8,  # of images of different classes
        n_between=9,  # pictures along the line between their codes, both ends included
        width_px=1400,
    )
    c.probe = dict(strengths=(1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0), pixels=True)  # penalties; raw pixels take longest
    c.rsa = dict(measures=('correlation', 'euclidean'))
    if size == 'tiny':
        c.run = 'runs/vae-tiny'
        c.pictures.update(n_per_class=1, n_samples=20, n_traversed=1, n_dimensions=4, n_pairs=2, n_between=5)
        c.probe.strengths = (1e-2, 1.0)
        c.rsa.update(measures=('correlation',))
    elif size != 'full':
        raise ValueError(f'configs/latents.py has no variant {size!r}: full or tiny.')
    return c
