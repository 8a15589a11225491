r"""Sparse autoencoder of any feature matrix: few of many latents are active for each item; its codes are functions.

    python -m humalign_jax.main --config=configs/sae.py --config.data.features=runs/features/penultimate.npy \
        --workdir=runs/sae
    python -m humalign_jax.main --config=configs/sae.py:tiny    # seconds, on a CPU

Features may be `.npy`, `.npz`, `.h5`, `.mat` or `.csv` with stimulus ids (docs/rsa.md). Leaves the codes of all
items, `codes.npz`, as a compressed sparse matrix.

Measured on THINGS concepts (three seeds, 185 test concepts, 512 latents, 16 of them active): explained variance 0.44 to
0.46 for MiniLM words (384 features) and 0.72 to 0.75 for GloVe (50 features, `dead_k=25`); 16 principal components:
0.24 to 0.25 and 0.61 to 0.62. No latent is dead; 506 to 507 and 482 to 492 are usable functions.

Variant tiny (three seeds): mean largest
cosine of the 64 known directions with the learned ones 0.996 to 0.997.
"""

import ml_collections


def get_config(size: str = 'full') -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.experiment = 'train_sae'  # humalign_jax/experiments/train_sae.py
    c.seed = 0
    c.data = dict(
        features='',  # the file, [n, d]
        key='',  # which array of a file with several
        ids_file='',  # for a file without ids: one id a line, or a table
        ids_column='',  # column of that table
        unit_norm=True,  # the mean taken off, every item is brought to one norm; else all are divided by one factor
        batch_size=128,
        n_validation=185,  # items that choose the checkpoint; chosen by the seed
        n_test=185,  # items that score it
    )
    c.model = dict(name='sae', n_latents=512, k=16)
    c.objective = dict(
        dead_weight=1 / 32,  # weight of the reconstruction of the error by dead latents; 0: off
        dead_k=192,  # dead latents that take part in it, about half the number of features
        dead_after_epochs=2.0,  # a latent is dead once it was active for no item for so long
    )
    c.functions = dict(min_positives=20, min_negatives=20)  # items of a usable function, and items without it
    c.optimizer = dict(
        name='adam',
        learning_rate=3e-3,
        weight_decay=0.0,
        schedule='cosine',
        warmup_epochs=0.0,
        start_learning_rate=0.0,
        end_learning_rate=0.0,
        clip_norm=1.0,
        norm_bias_rate=1.0,  # factor on the rate of the biases of BatchNorm
        lookahead_steps=0,  # 0: off
        lookahead_share=0.5,
        lookahead_power=0.0,  # above 0: the share falls from 1 to lookahead_share
        ema_decay=0.0,  # 0: off
    )
    c.train = dict(
        epochs=50.0,
        max_steps=0,  # 0: no cap
        log_every_steps=50,
        eval_every_epochs=1.0,
        checkpoint_every_epochs=10.0,
        keep_checkpoints=2,
        best_metric='fve',
        best_mode='max',
        steps_per_dispatch=16,  # always 1 on a CPU
        n_seeds=1,  # above 1: seed, seed + 1 and so on in one program, a folder each
        n_devices=0,  # 0: all
        logger='tensorboard',  # or 'csv', 'wandb'
    )
    if size == 'tiny':  # simulated features with known functions
        c.data.update(unit_norm=False, batch_size=64, n_validation=200, n_test=200)
        c.data.update(n_items=2400, n_features=32, n_functions=64, n_active=3, noise_sd=0.02)
        c.model.update(n_latents=96, k=3)
        c.objective.update(dead_k=16)
        c.optimizer.update(learning_rate=1e-2)
        c.train.update(epochs=30.0)
    elif size != 'full':
        raise ValueError(f'configs/sae.py has no variant {size!r}: full or tiny.')
    return c
