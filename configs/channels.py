r"""What each channel of the deconvolution network carries: every channel kept alone, and every channel dropped.

    python -m humalign_jax.main --config=configs/channels.py --config.run=runs/deconv --workdir=runs/channels
    python -m humalign_jax.main --config=configs/channels.py:tiny    # seconds; makes runs/deconv-tiny first

Several runs stand between commas: `--config.run=runs/deconv,runs/deconv-nearest`. Leaves scores.jsonl, and a folder for
each run with arrays and figures/. The pictures show images of the data set, under its licence.
"""

import ml_collections


def get_config(size: str = 'full') -> ml_collections.ConfigDict:
    if size not in ('full', 'tiny'):
        raise ValueError(f'configs/channels.py has no variant {size!r}: full or tiny.')
    c = ml_collections.ConfigDict()
    c.experiment = 'channels'  # humalign_jax/experiments/channels.py
    c.seed = 0  # nothing is random
    c.run = 'runs/deconv'  # the --workdir of a run of configs/deconv.py, or several between commas
    c.checkpoint = 'best'  # 'best' by validation, 'newest', or a step
    c.names = ()  # what scores call the runs, () for the names of their folders
    c.batch_size = 100  # images at a time; every image is decoded 45 times
    c.n_devices = 0  # 0: all
    c.pictures = dict(ids=('cifar10/train/00006', 'cifar10/test/00003'))  # a bird and an airplane
    if size == 'tiny':
        c.run = 'runs/deconv-tiny'
        c.pictures.ids = ('synthetic/train/00006', 'synthetic/test/00003')
    return c
