r"""How well learners on any features predict people's choices in category learning and reward learning.

    python -m humalign_jax.main --config=configs/learning.py --workdir=runs/learning --config.human.root=DIR \
        --config.features='("words.npz", "vice.npz")' --config.arrays='("minilm_word", "vice_42d")' \
        --config.stimuli.dataset=things
    python -m humalign_jax.main --config=configs/learning.py:tiny    # seconds, simulated learners

A learner is refitted after every trial on what the participant saw so far: logistic regression for categories, Bayesian
ridge regression for rewards. Folders are those of configs/extract.py. third_party/things_learning/README.md says where
the choices are from. Scores: NLL, accuracy, McFadden's R2, and protected exceedance probabilities of the models.
"""

import ml_collections


def get_config(size: str = 'full') -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.experiment = 'learning'  # humalign_jax/experiments/learning.py
    c.seed = 0
    c.features = ()  # folders with layers, or .npy, .npz, .h5, .mat and .csv files; one entry for each model
    c.arrays = ()  # which layer of each folder, which array of each file; () where each has only one
    c.names = ()  # what scores call the models; () for the names in the files
    c.stimuli = dict(
        dataset='',  # of files without ids: things, rows are the concepts in the order of unique_id
        ids_file='',  # or a text file with one id a line
    )
    # What models that differ by their seed have in common, one for each of features; '' for none, () for none at all.
    # Such models are scored one by one and on average; model selection then is among the averages and the other models.
    c.groups = ()
    c.reference = ''  # name of the model from which the others are subtracted; '' for no differences
    c.human = dict(
        root='',  # folder with the choices
        sets=('category_learning_2024', 'reward_learning_2024', 'decisions'),  # or tables of your own, by their path
    )
    c.rule = dict(
        file='',  # features whose dimensions are the rules of the tasks, for the baseline `true dimension`; '' for none
        array='',
        dimensions=(0, 1, 2),  # each participant's is the one that the feedback follows
    )
    # Penalties of the logistic regression; in each trial the one that predicted earlier trials best.
    c.strengths = (1e-4, 7.7e-4, 6e-3, 4.6e-2, 0.36, 2.8, 22.0, 167.0, 1.3e3, 1e4)
    c.choices = dict(
        folds=5,  # of each participant's trials, to fit the temperature of choices on other trials
        penalty=1.0,  # weight of the ridge penalty of the slope; 0: maximum likelihood
    )
    c.simulated = dict(n_participants=0, n_trials=0, n_stimuli=0)  # more than 0 participants: made up
    if size == 'tiny':
        c.reference = 'pixels'
        c.strengths = (1e-2, 1.0, 1e2)
        c.simulated.update(n_participants=12, n_trials=30, n_stimuli=120)
    elif size != 'full':
        raise ValueError(f'configs/learning.py has no variant {size!r}: full or tiny.')
    return c
