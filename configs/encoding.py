r"""How well features predict fMRI voxels: ridge or banded ridge, by region of interest, with noise ceilings.

    python -m humalign_jax.main --config=configs/encoding.py --workdir=runs/encoding \
        --config.human.paths='("nsd/subj01", "nsd/subj02")' --config.features='("features/net/nsd",)'
    python -m humalign_jax.main --config=configs/encoding.py:tiny    # seconds, simulated voxels
    python -m humalign_jax.main --config=configs/encoding.py:things --workdir=runs/things \
        --config.human.paths='("betas_csv/sub-01",)' --config.features='("words.npz",)' --config.human.id_column=concept
    python -m humalign_jax.main --config=configs/encoding.py:haxby --workdir=runs/haxby \
        --config.human.paths='("haxby2001/sub001_one_slice.npz",)'

docs/encoding.md says what the files look like and how numbers are made.
"""

import ml_collections


def get_config(size: str = 'full') -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.experiment = 'encoding'  # humalign_jax/experiments/encoding.py
    c.seed = 0
    c.features = ()  # folders with layers, or .npy, .npz, .h5, .mat and .csv files; identity: one feature per stimulus
    c.arrays = ()  # which layer of each folder, which array of each file; () where each has only one
    c.names = ()  # what scores call the models; () for the names in the files
    c.bands = ()  # further models of several feature spaces (banded ridge), such as (('early', 'late'),)
    c.stimuli = dict(
        dataset='',  # what rows of files without ids are: such as 'cifar10', with split, in the published order
        split='',
        ids_file='',  # or a text file with one id a line
    )
    c.reference = ''  # name of the model from which the others are subtracted; '' for no differences
    c.human = dict(
        name='nsd',  # nsd, things_fmri, npz, haxby
        paths=(),  # one for each subject: folder (nsd), beginning of the file names (things_fmri), file (npz, haxby)
        subjects=(),  # names of the subjects; () for the names in the paths
        rois=(),  # regions of interest; () for all
        id_column='stimulus',  # of things_fmri, what names a stimulus: stimulus (image file) or concept
    )
    c.trials = dict(
        average=False,  # average the repeats of a stimulus first
        zscore_sessions=False,  # mean 0 and SD 1 of each voxel within every session
    )
    c.cross_validation = dict(
        by='split',  # split: train and val of nsd; session: leave one session out; stimulus: parts of the stimuli
        parts=12,  # parts of the stimuli (stimulus), or of the test stimuli for intervals and tests (split)
        new_stimuli=True,  # of session: leave the stimuli of the held-out session out of train
        inner='rows',  # how penalties are chosen in train: rows (leave-one-out), or leave out sessions or stimuli
    )
    c.penalties = tuple(10.0 ** (k / 2) for k in range(-2, 13))  # 0.1 to 1e6, for features of SD 1
    c.ridge = dict(
        scale=True,  # divide each feature by its SD in train
        dtype='float32',  # of matrix products; float64 equals scikit-learn to rounding
        n_weights=20,  # band weights tried for each model of several feature spaces
        voxels_per_batch=0,  # 0: as many as 256 MB hold
    )
    c.ceilings = dict(
        source='repeats',  # repeats, published (ncsnr in the files), none
        min_ceiling=0.05,  # voxels with a smaller R2 ceiling of a single measurement are left out
    )
    c.identification = ()  # correlation, whitened: identify each held-out stimulus by its predicted pattern
    c.simulated = dict(n_stimuli=0, n_voxels=0, n_repeats=1, n_sessions=0, n_subjects=0)  # more than 0: made up
    if size == 'tiny':
        c.bands = (('pixels', 'noise'),)
        c.reference = 'pixels'
        c.cross_validation.update(parts=8)
        c.penalties = (1.0, 1e2, 1e4)
        c.ridge.update(n_weights=4)
        c.identification = ('correlation',)
        c.simulated.update(n_stimuli=200, n_voxels=20, n_repeats=4, n_sessions=4, n_subjects=2)
    elif size == 'things':
        c.human.update(name='things_fmri')
        c.cross_validation.update(by='session')
        c.ceilings.update(source='published')
    elif size == 'haxby':
        c.features = ('identity',)
        c.human.update(name='haxby')
        c.cross_validation.update(by='session', new_stimuli=False, inner='sessions')
        c.ceilings.update(source='none')
        c.identification = ('correlation', 'whitened')
    elif size != 'full':
        raise ValueError(f'configs/encoding.py has no variant {size!r}: full, tiny, things or haxby.')
    return c
