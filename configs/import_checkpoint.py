r"""Makes a run, as `evaluate`, `extract` and studies open it, of a network trained in PyTorch; scores it on test.

    python -m humalign_jax.main --config=configs/import_checkpoint.py --config.weights.file=FILE \
        --config.data.root=DIR --workdir=runs/imported
    python -m humalign_jax.main --config=configs/import_checkpoint.py:tiny    # seconds, no files

FILE is a PyTorch checkpoint (.pt, .pth, .th) or a safetensors file; neither PyTorch nor the network's code is needed.
The classes must have the order of config.data. `tiny` writes a file with random weights and imports it.
"""

import ml_collections


def get_config(size: str = 'full') -> ml_collections.ConfigDict:
    if size not in ('full', 'tiny'):
        raise ValueError(f'configs/import_checkpoint.py has no variant {size!r}: full or tiny.')
    c = ml_collections.ConfigDict()
    c.experiment = 'import_checkpoint'  # humalign_jax/experiments/import_checkpoint.py
    c.seed = 0
    c.weights = dict(
        file='',  # 'synthetic': random weights by the seed
        key='',  # entry of the file that holds the network, where it has several
        renames=(),  # (pattern, replacement) of PyTorch's names of modules; (): the model's own
        flatten=(),  # (dense layer, channels of the flattened map that it reads); (): the model's own
    )
    c.data = dict(name='mnist', root='', batch_size=500, n_validation=5000, target='label')
    c.preprocess = dict(mean=(0.1307,), std=(0.3081,))  # what the network was trained with
    c.model = dict(name='digitnet')
    c.train = dict(n_devices=0)  # 0: all
    if size == 'tiny':
        c.weights.update(file='synthetic')
        c.data.update(name='synthetic', batch_size=32, n_validation=64)
        c.data.n_train, c.data.n_test, c.data.image = 320, 128, 'grey'
    return c
