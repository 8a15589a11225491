r"""How well the similarity of two images to a network predicts how similar people find them.

    python -m humalign_jax.main --config=configs/ratings.py --config.ratings.files='("anna.csv", "ben.csv")' \
        --config.runs='("runs/digitnet",)' --workdir=runs/ratings
    python -m humalign_jax.main --config=configs/ratings.py:tiny    # a published example, seconds

Every layer of every model, under every measure, within every category: Pearson and Spearman with the mean rating and
with each rater, intervals over pairs, the raters' reliability as ceiling, and the pairs that matter most. The pixels
are always scored too. `:tiny` are the 20 pairs and two raters of a course, with the similarities that its network gave:
r = -0.171 [-0.66, 0.41], raters 0.829, and +0.179 without pairs 15 and 13. How to collect ratings: docs/ratings.md.
"""

import ml_collections


def get_config(size: str = 'full') -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.experiment = 'ratings'  # humalign_jax/experiments/ratings.py
    c.seed = 0  # of bootstrap samples and permutations
    c.n_devices = 0  # 0: all
    c.ratings = dict(
        source='files',  # or 'course': the published example, with the similarities of its network
        files=(),  # tables, one or several: those that the page of configs/collect_ratings.py downloads
        images='',  # .npz with the rated images, for tables with source_index_a; '' for the images of config.data
        dataset='mnist',  # whose images test_idx_a numbers
        split='test',
        name='',  # what scores call the ratings; '' for the name of the first file
    )
    c.data = dict(name='mnist', root='')  # the rated images; root is also where the data of runs is; name '' for none
    c.runs = ()  # workdirs of training runs, also of import_checkpoint
    c.checkpoint = 'best'  # 'best' by validation, 'newest', or a step
    c.features = ()  # folders of layers (of extract or from elsewhere) or single files [n, d], joined by stimulus id
    c.stimuli = dict(dataset='', split='', ids_file='')  # what the rows of files without ids are
    c.names = ()  # names of the models, runs first; () for the names of their architectures
    c.layers = ()  # () for all
    c.headline = ('fc1', 'penultimate', 'mu')  # the first of these that a model has is shown in figures
    c.preprocess = dict(mean=(0.1307,), std=(0.3081,))  # of the pixel baseline; cosine and dot depend on it
    c.measures = ('cosine', 'pearson', '-euclidean', 'dot')  # the first is shown in figures
    c.n_bootstrap = 10000  # samples of pairs
    c.n_influential = 2  # pairs left out, one after another
    c.invert = True  # show negatives: white digits on black become black on white
    c.within_class = dict(  # RDM of all images of each rated category
        measure='',  # a distance of rsa, such as 'cosine'; '' for no RDMs
        rdm='',  # file with a rating matrix (dissimilarities) in any format of rsa; '' for the ratings themselves
        index='spearman',  # compares the two RDMs
        n_permutations=1000,
    )
    if size == 'tiny':
        c.ratings.update(source='course')
        c.data.update(name='')
    elif size != 'full':
        raise ValueError(f'configs/ratings.py has no variant {size!r}: full or tiny.')
    return c
