r"""Named layers of a trained run over a set of images, as memory-mapped .npy files with stimulus ids.

    python -m humalign_jax.main --config=configs/extract.py --config.run=runs/philnet --workdir=features/philnet/test
    python -m humalign_jax.main --config=configs/extract.py --config.run=runs/vae --config.layers='("mu",)'
    python -m humalign_jax.main --config=configs/extract.py:tiny    # seconds, no run needed

Layers of classifiers: `block1` ... (PhilNet) or `stem`, `layer1` ... (ResNets), `penultimate`, `logits`, `probs`; of a
VAE `encoder1` ..., `mu`, `logvar`, `decoder1` ..., `recon`. `pixels` are the images in [0, 1]; `pixels` alone needs no
run: leave `run` empty and name the images in `data`.
"""

import ml_collections


def get_config(size: str = 'full') -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.experiment = 'extract'  # humalign_jax/experiments/extract.py
    c.seed = 0  # without a run: which training images are the validation images
    c.run = 'runs/philnet'  # a training run's --workdir; '' for pixels alone
    c.checkpoint = 'best'  # 'best' by validation, 'newest', or a step
    c.split = 'test'  # train, validation or test
    c.layers = ('penultimate', 'logits', 'probs')  # () for every named layer of the model
    c.name = ''  # the model's name in the study; '' for the name of its architecture
    c.data = dict(name='', root='', n_validation=5000)  # with a run only `root` may be given: where the files are now
    c.batch_size = 256  # images at a time over all devices; less where memory is short
    c.max_memory_gb = 4.0  # of this process, never exceeded; 1 GB = 10^9 bytes
    c.n_devices = 0  # 0: all
    if size == 'tiny':
        c.run, c.layers = '', ('pixels',)
        c.data.update(name='synthetic', n_validation=64)
        c.data.n_train, c.data.n_test = 320, 128
    elif size != 'full':
        raise ValueError(f'configs/extract.py has no variant {size!r}: full or tiny.')
    return c
