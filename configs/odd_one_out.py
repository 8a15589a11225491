r"""Which of three stimuli is the odd one out: people's choices and any features, zero-shot and by a choice model.

    python -m humalign_jax.main --config=configs/odd_one_out.py --workdir=runs/odd_one_out --config.human.root=DIR \
        --config.features='("words.npz",)' --config.arrays='("glove6b_50d",)' --config.join=position
    python -m humalign_jax.main --config=configs/odd_one_out.py:tiny    # seconds, on simulated data

Choices: THINGS, Levels, or such as follow from CIFAR-10H (third_party/things/README.md says which files go where).
Features: folders with layers, as configs/extract.py writes them, or .npy, .npz, .h5, .mat and .csv files.
Scores: accuracy, NLL and McFadden's R2, with intervals over participants and over triplets, and ceilings from repeats.
"""

import ml_collections


def get_config(size: str = 'full') -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.experiment = 'odd_one_out'  # humalign_jax/experiments/odd_one_out.py
    c.seed = 0
    c.n_devices = 0  # 0: all
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
    c.join = 'exact'  # shared: leave out trials with stimuli that features lack; position: rows of files without ids
    # are the stimuli in their published order (THINGS: unique_id)
    c.measures = ('cosine',)  # similarities: cosine, dot
    c.embeddings = ()  # references by dot product: arrays of .npz files beside THINGS's choices, such as 'vice_42d'
    c.reference = ''  # name of a representation from which differences of accuracy are taken; '' for none
    c.human = dict(
        name='things',  # things, levels, cifar10h (derived from soft labels)
        root='',  # folder with the data
        file='',  # name of the file; '' for the usual one
        numbering='',  # of THINGS's .txt files: unique_id or file_names
        n_triplets=0,  # 0: all; of cifar10h how many are derived
        stimuli_file='',  # ids, one a line: only trials whose three stimuli are among them
    )
    c.choices = dict(
        folds=5,  # of the cross-validation of temperature and position bias
        penalty=1.0,  # weight of the ridge penalty of slope and biases; 0: maximum likelihood
        per='participant',  # one temperature for each participant; all: one for all trials
    )
    c.repeats_within = False  # True: ceilings from triplets that one person answered several times
    c.n_bootstrap = 1000  # draws of participants, for intervals
    c.simulated = dict(n_stimuli=0, n_triplets=0, n_subjects=0)  # more than 0 triplets: made up, in place of files
    if size == 'tiny':
        c.measures = ('cosine', 'dot')
        c.reference = 'noise'
        c.n_bootstrap = 200
        c.simulated.update(n_stimuli=60, n_triplets=4000, n_subjects=20)
    elif size != 'full':
        raise ValueError(f'configs/odd_one_out.py has no variant {size!r}: full or tiny.')
    return c
