r"""Does meta-learning make features more human-like? Functions, networks, people's judgements and learning, geometry.

    python -m humalign_jax.main --config=configs/metalign.py --workdir=runs/metalign --config.human.root=DIR \
        --config.data.features=DIR/things/word_embeddings.npz --config.data.key=glove6b_50d \
        --config.data.ids_file=DIR/things/concepts.tsv --config.data.ids_column=unique_id \
        --config.functions.main=DIR/things/word_embeddings.npz --config.functions.key=wordnet
    python -m humalign_jax.main --config=configs/metalign.py:tiny    # 1 to 2 CPU minutes, simulated

`functions.main` is a file of functions, or 'sae' for the codes of the study's own autoencoder (section `sae`). Started
again, the study continues; conditions, seeds and comparisons may change, and only what depends on them is done again.
docs/metalign.md says what each stage leaves. `paper` has the published sizes; it needs a GPU.
"""

import ml_collections

OPTIMIZER = dict(
    weight_decay=0.0,
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
TRAIN = dict(
    max_steps=0,  # 0: no cap
    eval_every_epochs=1.0,
    best_mode='max',
    n_seeds=1,  # a study trains one seed
    n_devices=0,  # 0: all
    logger='tensorboard',  # or 'csv', 'wandb'
)


def get_config(size: str = 'full') -> ml_collections.ConfigDict:
    if size not in ('full', 'paper', 'tiny'):
        raise ValueError(f'configs/metalign.py has no variant {size!r}: full, paper or tiny.')
    c = ml_collections.ConfigDict()
    c.experiment = 'metalign'  # humalign_jax/experiments/metalign.py
    c.seed = 0  # of the autoencoder, the comparisons and simulated concepts
    c.seeds = (0, 1, 2)  # of the networks of each condition
    c.data = dict(
        features='',  # file with an array [n, d] and stimulus ids; 'simulated': made-up concepts and people
        key='',  # which array of a file with several
        ids_file='',  # for a file without ids: one id a line, or a table
        ids_column='',  # column of that table
    )
    # Where features are 'simulated'.
    c.simulated = dict(n_items=1000, n_triplets=10_000, n_participants=20, n_trials=60)
    c.functions = dict(  # see configs/metalearner.py
        use='main',  # main, mid or raw
        main='sae',  # a file; 'sae': codes of the study's own autoencoder; 'simulated'
        mid='',  # the same of a layer half way through the network
        raw='',  # file with features whose single neurons are functions; '': those of data.features
        key='',  # which matrix of a file with several, such as 'wordnet'
        min_positives=5,
        held_out=0.2,
        held_out_file='',
    )
    c.sae = dict(  # see configs/sae.py
        data=dict(unit_norm=True, batch_size=128, n_validation=185, n_test=185),
        model=dict(name='sae', n_latents=512, k=16),
        objective=dict(dead_weight=1 / 32, dead_k=25, dead_after_epochs=2.0),
        functions=dict(min_positives=20, min_negatives=20),
        optimizer=dict(name='adam', learning_rate=3e-3, schedule='cosine', **OPTIMIZER),
        train=dict(
            epochs=50.0, log_every_steps=50, checkpoint_every_epochs=10.0, keep_checkpoints=2, best_metric='fve',
            steps_per_dispatch=16, **TRAIN,
        ),
    )  # fmt: skip
    c.metalearner = dict(  # see configs/metalearner.py
        data=dict(
            scaling='rms', batch_size=64, split_seed=0, held_out_by='random', held_out_items=0.2,
            held_out_items_file='',
        ),
        episodes=dict(length=24, per_epoch=3200, n_repeats=4),
        model=dict(
            name='metalearner', core='transformer', n_layers=1, n_heads=5, mlp_width=0, embed=True, dropout_rate=0.0,
            dtype='float32',
        ),
        optimizer=dict(
            name='schedule_free_adamw', learning_rate=3e-3, no_decay=('embed',), schedule='constant', **OPTIMIZER
        ),
        train=dict(
            epochs=20.0, log_every_steps=25, checkpoint_every_epochs=5.0, keep_checkpoints=1, best_metric='score',
            steps_per_dispatch=1, **TRAIN,
        ),
        stopping=dict(patience=10, min_improvement=1e-3, after_steps=200, min_accuracy=0.6),
        export=(),  # a further file whose features are mapped, and compared with people in place of those of data
    )  # fmt: skip
    c.conditions = {  # what differs from `metalearner` and `functions`
        'main': {},
        'sae': {'functions': {'main': 'sae'}},
        'midsae': {'functions': {'use': 'mid'}},
        'raw': {'functions': {'use': 'raw'}},
        'static_linear': {'model': {'name': 'static_linear'}},
        'lstm': {'model': {'core': 'lstm'}},
        '2layers': {'model': {'n_layers': 2}},
        'mlp': {'model': {'mlp_width': 3072}},
        '8heads': {'model': {'n_heads': 8}},
        '32heads': {'model': {'n_heads': 32}},
        'wd': {'optimizer': {'weight_decay': 1e-4}},
        'noemb': {'model': {'embed': False}},  # no features: in-context curves only
    }
    # Conditions that are studied; the others are ablations of the first.
    c.include = ('main', 'raw', 'static_linear', 'lstm', '2layers', 'noemb')
    c.layers = ('embed', 'normalised')  # compared with people; only static_linear has the second
    c.compare = ('odd_one_out', 'learning', 'geometry')  # comparisons with people, each a section; () for none
    c.human = dict(
        root='',  # folder with people's choices, see third_party/things and third_party/things_learning
        embeddings=(),  # references: arrays of .npz files beside THINGS's choices, such as 'vice_42d'
    )
    c.odd_one_out = dict(  # see configs/odd_one_out.py
        n_devices=0,
        join='exact',
        measures=('cosine',),
        human=dict(name='things', file='', numbering='', n_triplets=0, stimuli_file=''),
        choices=dict(folds=5, penalty=1.0, per='participant'),
        repeats_within=False,
        n_bootstrap=1000,
    )
    c.learning = dict(  # see configs/learning.py
        stimuli=dict(dataset='things', ids_file=''),  # of the embeddings
        human=dict(sets=('category_learning_2024', 'reward_learning_2024', 'decisions')),
        rule=dict(array='', dimensions=(0, 1, 2)),  # embedding with the dimensions of the rules, '' for none
        strengths=(1e-4, 7.7e-4, 6e-3, 4.6e-2, 0.36, 2.8, 22.0, 167.0, 1.3e3, 1e4),
        choices=dict(folds=5, penalty=1.0),
    )
    c.geometry = dict(  # see configs/geometry.py
        join='exact',
        human=dict(stimuli_file=''),
        categories=dict(file='', ids_column='unique_id', coarse='category_top_down', fine=''),
        n_bootstrap=100,
        maps=dict(
            methods=('tsne', 'mds'),
            categories=('animal', 'food', 'clothing', 'furniture', 'vehicle', 'tool', 'plant', 'body part'),
            n_per_class=40,
            measure='euclidean',
            perplexity=30.0,
        ),
    )
    c.report = dict(
        title='Does meta-learning make features more human-like?',
        layers=('embed',),
        human_measure='cosine',
        n_images=0,
        recipe_epochs=dict(metalearner=100.0, static_linear=100.0),
        claims=(),
    )
    if size == 'paper':
        c.functions.update(min_positives=120, held_out=0.1)
        c.metalearner.data.update(scaling='none', batch_size=4096)
        c.metalearner.episodes.update(length=120, per_epoch=409_600, n_repeats=20)
        c.metalearner.model.update(n_heads=16, dropout_rate=0.1, dtype='bfloat16')
        c.metalearner.optimizer.update(learning_rate=2.5e-4)
        c.metalearner.train.update(epochs=100.0, log_every_steps=20)
        c.metalearner.stopping.update(after_steps=1000)
        c.include += ('midsae', 'mlp', '8heads', '32heads', 'wd')
    if size == 'tiny':
        c.seeds = (0, 1)
        c.data.update(features='simulated')
        c.simulated.update(n_items=1000, n_triplets=4000, n_participants=9, n_trials=24)
        c.functions.update(main='simulated', mid='simulated', min_positives=12, held_out=0.2)
        c.sae.data.update(unit_norm=False, batch_size=64, n_validation=100, n_test=100)
        c.sae.model.update(n_latents=64, k=6)
        c.sae.objective.update(dead_k=16)
        c.sae.optimizer.update(learning_rate=1e-2)
        c.sae.train.update(epochs=10.0)
        c.metalearner.model.update(n_heads=4)
        c.metalearner.optimizer.update(learning_rate=1e-2)
        c.metalearner.train.update(epochs=6.0)
        c.metalearner.stopping.update(after_steps=100)
        c.include = ('main', 'sae', 'raw', 'static_linear', 'noemb')
        c.human.update(embeddings=('human',))
        c.odd_one_out.update(n_bootstrap=200)
        c.geometry.update(n_bootstrap=20)
        c.geometry.maps.update(categories=('0', '1', '2', '3', '4', '5'), n_per_class=15)
        c.learning.human.update(sets=('category_learning.csv', 'reward_learning.csv'))
        c.learning.rule.update(array='human')
        c.learning.update(strengths=(0.1, 10.0))
    return c
