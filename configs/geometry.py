r"""Geometry of representations: class separation, dimensionality, CKA with human embeddings, and maps.

    python -m humalign_jax.main --config=configs/geometry.py --workdir=runs/geometry --config.human.root=DIR \
        --config.features='("words.npz",)' --config.arrays='("minilm_word", "glove6b_50d")' --config.join=position \
        --config.embeddings='("vice_42d",)' --config.reference=minilm_word
    python -m humalign_jax.main --config=configs/geometry.py:tiny    # seconds, on simulated data

Features are those of configs/odd_one_out.py. Items and their classes come from a table, by default the THINGS concepts
(third_party/things/README.md). Intervals are over items. Maps are t-SNE and classical MDS, aligned to the first one.
"""

import ml_collections


def get_config(size: str = 'full') -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.experiment = 'geometry'  # humalign_jax/experiments/geometry.py
    c.seed = 0
    c.features = ()  # folders with layers, or files
    c.arrays = ()  # which array of each file, '' for the only one; of a single file, several of its arrays
    c.names = ()  # what scores call each of features; () for the names in the files
    # What networks that differ by their seed have in common, one for each of features; '' for none, () for none at all.
    c.groups = ()  # Such networks are scored one by one and on average; groups are compared with the first of them too.
    c.layers = ()  # layers of the folders; () for all
    c.baselines = ()  # names among these that are baselines
    c.stimuli = dict(
        dataset='',  # what rows of files without ids are: such as 'cifar10', with split, in the published order
        split='',
        ids_file='',  # or a text file with one id a line
    )
    c.join = 'exact'  # shared: leave out items that features lack; position: rows of files without ids are the items in
    # the order of the table
    c.embeddings = ()  # human embeddings: arrays of .npz files in human.root, such as 'vice_42d'
    c.reference = ''  # name of a representation from which differences are taken; '' for none
    c.human = dict(
        root='',  # folder with concepts.tsv and the embeddings
        stimuli_file='',  # ids, one a line: only these items; '' for all
    )
    c.categories = dict(
        file='',  # tab-separated table with a line for each item; '' for concepts.tsv in human.root
        ids_column='unique_id',
        coarse='category_top_down',  # column with the classes of an item, separated by commas; '' for none
        fine='',  # column with the concept of an item where a concept has several items; '' for none
    )
    c.n_bootstrap = 100  # draws of items, for intervals
    c.maps = dict(
        methods=('tsne', 'mds'),  # () for no maps
        # Coarse classes that are shown, in eight colours; an item in two of them is left out.
        categories=('animal', 'food', 'clothing', 'furniture', 'vehicle', 'tool', 'plant', 'body part'),
        n_per_class=40,  # at most that many items of a class, drawn at random
        measure='euclidean',  # distance: euclidean, cosine, correlation
        perplexity=30.0,  # of t-SNE; at most a third of the items
    )
    c.simulated = dict(n_stimuli=0)  # more than 0 items: made up, in place of files
    if size == 'tiny':
        c.embeddings = ('human dimensions',)
        c.reference = 'base'
        c.maps.update(categories=('category 0', 'category 1', 'category 2'), n_per_class=20)
        c.simulated.update(n_stimuli=240)
    elif size != 'full':
        raise ValueError(f'configs/geometry.py has no variant {size!r}: full or tiny.')
    return c
