r"""A page on which people rate how similar two images of one class are.

    python -m humalign_jax.main --config=configs/collect_ratings.py --workdir=runs/collect-ratings
    python -m humalign_jax.main --config=configs/collect_ratings.py:tiny    # rendered images

Leaves rate.html, one file that needs no network: open it, or send it to people, on a computer or a phone. At the end
it downloads a table with one rating a line, which `humalign_jax.human.ratings.read_ratings` reads, one or several.
pairs.csv and pairs.json say which images were drawn. Twenty pairs take a person about three minutes.
"""

import ml_collections


def get_config(size: str = 'full') -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.experiment = 'collect_ratings'  # humalign_jax/experiments/collect_ratings.py
    c.seed = 0  # of the pairs that are drawn
    c.data = dict(name='mnist', root='')  # or 'cifar10', 'image_folder', 'synthetic', with their settings
    c.split = 'test'
    c.categories = ('8',)  # classes within which pairs are drawn; () for all
    c.n_pairs = 20  # of each class; each takes two images of its own
    c.invert = True  # show negatives: white digits on black become black on white
    c.wording = dict(
        title='How similar are these images?',
        question='How similar do these two images look?',
        lowest='not similar at all',  # what 1 means
        highest='as similar as can be',  # what 10 means
    )
    if size == 'tiny':
        c.data = dict(name='synthetic', n_test=60, image='grey')
        c.categories = ('animate_a1', 'inanimate_c1')
        c.n_pairs = 3
        c.invert = False
    elif size != 'full':
        raise ValueError(f'configs/collect_ratings.py has no variant {size!r}: full or tiny.')
    return c
