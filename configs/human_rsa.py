r"""RSA of networks against people: every layer, by image and by class, also with the category partialled out.

    python -m humalign_jax.main --config=configs/human_rsa.py --workdir=study/human_rsa \
        --config.features='("study/features/philnet/test", "study/features/vae/test")' --config.human.root=DATA
    python -m humalign_jax.main --config=configs/human_rsa.py:tiny    # seconds, on simulated data

`features` are folders written by configs/extract.py or folders of any network: `<layer>.npy` (or .npz, .h5, .mat,
.csv), and `labels.npy` with the classes. Files without ids need `stimuli` (see docs/study.md). The scores include three
baselines that use only the category or the pixels of an image; read the baselines first.

Expect: 10,000 images are 49,995,000 pairs, for which a layer of 512 units takes some ten seconds of processor time
(estimated from its parts on a busy machine) and the run 2.5 GB of memory (measured).
"""

import ml_collections


def get_config(size: str = 'full') -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.experiment = 'human_rsa'  # humalign_jax/experiments/human_rsa.py
    c.seed = 0
    c.n_devices = 0  # 0: all
    c.features = ()  # folders, one for each network: <layer>.npy with <layer>.json, labels.npy
    c.stimuli = dict(
        dataset='',  # what rows of files without ids are: such as 'cifar10', with split, in the published order
        split='',
        ids_file='',  # or a text file with one id a line
        labels_file='',  # classes of the stimuli, where no folder has labels.npy
    )
    c.names = ()  # what to call the networks; () for the names in their files
    c.layers = ()  # () for all; the headline layer is always read
    c.headline = ('mu', 'penultimate')  # the layer that networks are compared by: the first of these that one has
    c.human = dict(name='cifar10h', root='')  # whose answers; '' looks where config.data.root does by default
    c.measure = 'correlation'  # between features, a name of rsa.DISTANCES
    c.human_measure = 'cosine'  # between soft labels
    c.index = 'spearman'  # or pearson
    c.levels = ('image', 'class')
    c.pairs = ('all', 'within', 'between', 'partial')  # of images: any, of one class, of two, class partialled out
    c.baselines = ('same category', 'class-mean human label', 'pixels')  # pixels where a folder has that layer
    c.n_splits = 4  # random halves of the answers for the ceilings
    c.n_bootstrap = 1000  # samples of images within classes, for class means
    c.n_draws = 10000  # of the largest t, for family-wise p values
    c.simulated = dict(
        n_models=0
    )  # more than 0: networks made up from the synthetic images' latents, in place of files
    if size == 'tiny':
        c.human = dict(name='synthetic', root='', n_test=120, seed=0, n_observers=50)
        c.measure = 'euclidean'
        c.n_bootstrap, c.n_draws = 50, 500
        c.simulated.n_models = 3
    elif size != 'full':
        raise ValueError(f'configs/human_rsa.py has no variant {size!r}: full or tiny.')
    return c
