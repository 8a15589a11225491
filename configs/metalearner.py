r"""Meta-learns features: a small causal transformer learns functions of items in context; its first layer is kept.

    python -m humalign_jax.main --config=configs/metalearner.py --workdir=runs/metalearner \
        --config.data.features=features.h5 --config.functions.main=runs/sae/codes.npz
    python -m humalign_jax.main --config=configs/metalearner.py:tiny    # seconds, simulated data

Functions: codes of configs/sae.py, any file that `data.function_files` reads, or single neurons ('raw').
Leaves features/<name>/ (a folder of layers with base and meta-learned features), curves/ and scores.jsonl.
Ablations: configs/sweeps/metalearner_ablations.py. `paper` is the published size; it needs a GPU.
"""

import ml_collections


def get_config(size: str = 'paper') -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.experiment = 'train_metalearner'  # humalign_jax/experiments/train_metalearner.py
    c.seed = 0
    c.data = dict(
        features='',  # file with an array [n, d] and stimulus ids; 'simulated': made-up concepts
        key='',  # which array of a file with several
        ids_file='',  # for a file without ids: one id a line, or a table
        ids_column='',  # column of that table
        n_simulated=1000,  # of simulated concepts
        scaling='none',  # rms: subtract the mean, divide by the root mean square of all values; both affine
        batch_size=4096,  # episodes; items for static_linear
        split_seed=0,  # which items and functions are held out, and the evaluation episodes
        held_out_by='random',  # subtrees: whole branches, of functions.main (data/subtrees.py)
        held_out_items=0.2,  # share of the items
        held_out_items_file='',  # or their ids, one a line
    )
    c.functions = dict(
        use='main',  # which of these three: main, mid, raw
        main='',  # file with functions, such as codes.npz of configs/sae.py; 'simulated'
        mid='',  # the same of a layer half way through the network; 'simulated'
        raw='',  # file with features whose single neurons are functions; '': those of data.features
        key='',  # which matrix of a file with several, such as 'wordnet'
        min_positives=120,  # least positive and negative items of a function, in training and in held-out items
        held_out=0.1,  # share of the functions; 0: evaluation on trained functions; not for subtrees
        held_out_file='',  # or their ids, one a line
    )
    c.episodes = dict(
        length=120,
        per_epoch=409_600,  # 100 steps
        n_repeats=20,  # of each function in evaluation
    )
    c.model = dict(
        name='metalearner',  # or static_linear, the control without episodes, which reads dtype only
        core='transformer',  # or lstm
        n_layers=1,
        n_heads=16,
        mlp_width=0,  # 3072 in the ablation
        embed=True,  # False: no map of the features, for in-context curves
        dropout_rate=0.1,  # of attention weights
        dtype='bfloat16',
    )
    c.optimizer = dict(
        name='schedule_free_adamw',
        learning_rate=2.5e-4,
        weight_decay=0.0,
        no_decay=('embed',),
        schedule='constant',
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
        epochs=100.0,  # 10,000 steps
        max_steps=0,  # 0: no cap
        log_every_steps=20,
        eval_every_epochs=1.0,
        checkpoint_every_epochs=5.0,
        keep_checkpoints=1,
        best_metric='score',  # (accuracy + R2) / 2 on held-out functions and items
        best_mode='max',
        steps_per_dispatch=1,
        n_seeds=1,  # above 1: seed, seed + 1 and so on in one program, a folder each
        n_devices=0,  # 0: all
        logger='tensorboard',  # or 'csv', 'wandb'
    )
    c.stopping = dict(
        patience=10,  # evaluations without an improvement; 0: never stop early
        min_improvement=1e-3,
        after_steps=1000,
        min_accuracy=0.6,
    )
    c.export = ()  # further files whose features are mapped too
    if size == 'tiny':
        c.data.update(features='simulated', n_simulated=1500, batch_size=64, scaling='rms')
        c.functions.update(main='simulated', mid='simulated', min_positives=24, held_out=0.2)
        c.episodes.update(length=24, per_epoch=3200, n_repeats=4)
        c.model.update(n_heads=4, dropout_rate=0.0, dtype='float32')
        c.optimizer.update(learning_rate=1e-2)
        c.train.update(epochs=8.0, log_every_steps=25)
        c.stopping.update(after_steps=100)
    elif size != 'paper':
        raise ValueError(f'configs/metalearner.py has no variant {size!r}: paper or tiny.')
    return c
