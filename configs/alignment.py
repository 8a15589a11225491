r"""How closely a classifier's answers follow people's: soft labels, second choices, confusions, errors.

    python -m humalign_jax.main --config=configs/alignment.py --workdir=runs/alignment \
        --config.features=runs/features/test --config.validation=runs/features/validation --config.human.root=DIR
    python -m humalign_jax.main --config=configs/alignment.py:tiny    # a second, on simulated data

The folders hold the layers `logits` and/or `probs` with labels, as configs/extract.py writes them, or files of any
network: `logits.npy` (or .npz, .h5, .mat, .csv) and `labels.npy`. Files without ids need `stimuli` (docs/study.md).
"""

import ml_collections


def get_config(size: str = 'full') -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.experiment = 'alignment'  # humalign_jax/experiments/alignment.py
    c.seed = 0
    c.model = ''  # what scores call the model; '' for the name in the features
    c.features = ''  # folder with the scored images' layers: images that the model was not trained on
    c.stimuli = dict(
        dataset='',  # what rows of files without ids are: such as 'cifar10', with split, in the published order
        split='',
        ids_file='',  # or a text file with one id a line
        labels_file='',  # classes of the images, where the folder has no labels.npy
    )
    c.validation = ''  # the same of other held-out images, for the temperature; '' for no `_scaled` scores
    c.validation_stimuli = dict(dataset='', split='', ids_file='', labels_file='')  # as stimuli
    c.human = dict(name='cifar10h', root='')  # or 'cifar10n', or 'synthetic' with n_test, seed, image, n_observers
    c.n_bootstrap = 1000  # draws of images, for intervals
    c.n_splits = 20  # random halves of people's answers, for ceilings
    c.simulated = dict(n_test=0, n_validation=0)  # more than 0 images: a simulated model, in place of files
    if size == 'tiny':
        c.human.name = 'synthetic'
        c.n_bootstrap = 100
        c.n_splits = 5
        c.simulated.update(n_test=200, n_validation=100)
    elif size != 'full':
        raise ValueError(f'configs/alignment.py has no variant {size!r}: full or tiny.')
    return c
