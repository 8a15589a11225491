r"""Interpretability Index: how alike the images are that excite each unit most, in one or several trained networks.

    python -m humalign_jax.main --config=configs/interpretability.py --config.run=runs/resnet18 \
        --config.lpips.root=DIR --workdir=runs/index
    python -m humalign_jax.main --config=configs/interpretability.py --config.run=runs/base,runs/tuned \
        --config.names="('base-0', 'tuned-0')" --config.conditions="('baseline', 'tuned')" --workdir=runs/index-tuned
    python -m humalign_jax.main --config=configs/interpretability.py:tiny    # seconds; makes runs/philnet-tiny first

Several runs stand between commas, each with a name and a condition. The k-th run of a condition is compared with the
k-th run of `baseline` (or with its only one), unit by unit. DIR holds the weights of LPIPS (third_party/lpips);
--config.lpips.net= leaves LPIPS out. The sheets of images show pictures of the data set, under its licence.

Leaves scores.jsonl, and in a folder for each run values of each unit, most exciting images, and figures/.
"""

import ml_collections


def get_config(size: str = 'full') -> ml_collections.ConfigDict:
    if size not in ('full', 'tiny'):
        raise ValueError(f'configs/interpretability.py has no variant {size!r}: full or tiny.')
    c = ml_collections.ConfigDict()
    c.experiment = 'interpretability'  # humalign_jax/experiments/interpretability.py
    c.seed = 0  # order of queries in psychophysics; ICA and k-means
    c.run = 'runs/resnet18'  # the --workdir of a training run on images, or several between commas
    c.checkpoint = 'best'  # 'best' by validation, 'newest', or a step
    c.names = ()  # what scores call the runs, () for the names of their folders
    c.conditions = ()  # one for each run; () for the names of the runs
    c.baseline = ''  # the condition that others are compared with; '' for that of the first run
    c.data = dict(root='')  # where the images are now, '' for where the run says
    c.split = 'test'  # images that units are shown: train, validation or test
    c.layer = 'layer4'
    c.modes = ('center', 'mean', 'max')  # one number of a map: also median, min, flattened; the seed's: center
    c.n_meis = 5  # most exciting images of each unit
    c.features = dict(
        layer='penultimate',  # distance between images in a network's own features, '' for none
        run='',  # '': each network's own features; else those of one network for all
    )
    c.lpips = dict(
        net='alex',  # alex, vgg or squeeze; '': no LPIPS
        root='',  # folder with its weights; '' for lpips/ in the folder with datasets
        size_px=64,  # images are resized to this
    )
    c.directions = dict(
        kinds=('units',),  # also pca, ica, kmeans, and sae: latents of a run of configs/sae.py
        n_directions=0,  # of pca, ica and kmeans; 0: as many as units
        n_images=10000,  # training images that they are fitted on; 0: all
        sae='',  # that run
    )
    c.psychophysics = dict(
        modes=('mean',),  # () for none
        quantiles=(0.0, 0.25),  # share of images left out on either side: 0 is easiest
        n_trials=20,
        n_references=9,  # of each kind
    )
    c.sheets = dict(n_units=10)  # units on each sheet, half of them the most and half the least interpretable; 0: none
    c.batch_size = 250  # images at a time
    c.max_memory_gb = 4.0  # of LPIPS vectors; more go into a temporary file
    c.n_devices = 0  # 0: all
    if size == 'tiny':
        c.run, c.layer = 'runs/philnet-tiny', 'block3'
        c.lpips.net = ''
        c.psychophysics.update(n_trials=4, n_references=3)
        c.sheets.n_units = 4
        c.batch_size = 32
    return c
