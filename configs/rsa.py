r"""RSA of any feature files with any reference: RDMs, scores with intervals and noise ceilings, figures.

    python -m humalign_jax.main --config=configs/rsa.py --workdir=runs/rsa \
        --config.features.files='("net/conv3.npy", "net/fc.npy")' --config.reference.files='("human.npy",)'
    python -m humalign_jax.main --config=configs/rsa.py:tiny    # seconds, on simulated data

With --page the run, as any run that ends in scores, also writes its page: <workdir>/report/report.html.

Files may be .npy, .npz, .h5, .mat or .csv (see humalign_jax/rsa/files.py). Stimuli join by id. Where a file has no ids,
say what its rows are with `dataset` and `split` (rows in the published order), list the ids in a text file, or join by
position, which every score then says:

    --config.features.dataset=cifar10 --config.features.split=test      # the same with config.reference
    --config.features.ids_file=images.txt
    --config.comparison.join=position

Tens of thousands of stimuli: --config.inference.over=none --config.features.write_rdms=False holds no RDM at all.
"""

import ml_collections


def get_config(size: str = 'full') -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.experiment = 'rsa'  # humalign_jax/experiments/rsa.py
    c.seed = 0
    c.n_devices = 0  # 0: all
    c.features = dict(
        files=(),  # one file for each model
        arrays=(),  # which array of each file; () where each has only one
        names=(),  # what to call the models; () for the files' names
        ids_file='',  # text file with one id a line; '' for the ids in the files
        ids_key='',  # which array (or column of a table) of the files holds the ids; '' to find it, none if none does
        dataset='',  # such as 'cifar10', with split: rows are in the published order
        split='',
        csv=dict(separator='', decimal='', header='', encoding=''),  # of .csv files, '' to find it; tab, True, latin-1
        measure='correlation',  # of rsa.DISTANCES, mahalanobis, or crossnobis of arrays [repeats, stimuli, features]
        noise_files=(),  # for crossnobis: covariance of each file's noise; () to find it in four repeats or more
        write_rdms=True,  # False with inference.over='none': scores straight from the features, in flat memory
    )
    c.reference = dict(
        kind='rdm',  # rdm (one file for each subject), features, soft_labels, or counts (answers of people)
        files=(),
        arrays=(),
        ids_file='',
        ids_key='',
        dataset='',
        split='',
        csv=dict(separator='', decimal='', header='', encoding=''),  # as above
        measure='cosine',  # distance between soft labels, counts or features, as above; not used for kind rdm
        noise_files=(),  # as above
        n_splits=10,  # random halves of the counts for the noise ceiling
    )
    c.comparison = dict(
        index='spearman',  # a name of rsa.INDICES, or of rsa.FEATURE_INDICES (CKA, Procrustes, RV), over='none'
        join='exact',  # shared: keep the stimuli that all files have; position: row k of every file is the same one
        undefined='raise',  # omit: leave stimuli without distances in one file (NaN, constant rows) out of all
        labels_file='',  # text file with the category of each stimulus, in the order of the first feature file
        pairs=('all',),  # with labels also within, between, partial; adds the same/different RDM as a model
    )
    c.inference = dict(
        over='stimuli',  # what would be new in another study: stimuli, subjects or both; none for scores alone
        n_permutations=1000,  # of the test against zero
    )
    c.simulated = dict(n_stimuli=0, n_models=0, n_subjects=0)  # more than 0 stimuli: made up, in place of files
    if size == 'tiny':
        c.comparison.update(pairs=('all', 'within', 'partial'))
        c.inference.update(over='both', n_permutations=50)
        c.simulated.update(n_stimuli=30, n_models=3, n_subjects=4)
    elif size != 'full':
        raise ValueError(f'configs/rsa.py has no variant {size!r}: full or tiny.')
    return c
