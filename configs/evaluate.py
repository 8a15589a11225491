r"""Scores of a trained run: accuracy, loss, per-class accuracy and confusions, or a VAE's L1 and KL.

    python -m humalign_jax.main --config=configs/evaluate.py --config.run=runs/philnet --workdir=runs/philnet-test
    python -m humalign_jax.main --config=configs/evaluate.py:tiny    # seconds; makes runs/philnet-tiny first

Leaves scores.jsonl (and confusion.npy for a classifier) in the workdir.
"""

import ml_collections


def get_config(size: str = 'full') -> ml_collections.ConfigDict:
    if size not in ('full', 'tiny'):
        raise ValueError(f'configs/evaluate.py has no variant {size!r}: full or tiny.')
    c = ml_collections.ConfigDict()
    c.experiment = 'evaluate'  # humalign_jax/experiments/evaluate.py
    c.seed = 0
    c.run = 'runs/philnet-tiny' if size == 'tiny' else 'runs/philnet'  # a training run's --workdir
    c.checkpoint = 'best'  # 'best' by validation, 'newest', or a step
    c.split = 'test'
    return c
