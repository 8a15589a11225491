r"""What does a latent code keep? Three networks with and without a decoder, their channels one by one, and a page.

    python -m humalign_jax.main --config=configs/latent_recon.py:tiny    # rendered images
    python -m humalign_jax.main --config=configs/latent_recon.py --config.data.root=DIR --workdir=runs/latent_recon

`deconv` classifies and reconstructs with pooling switches, `deconv_nearest` without them; `classifier` has no decoder.
Each trains by the recipe of configs/deconv.py. Then `channels` keeps and drops every channel of both decoders, and
report/report.html shows accuracy, classes, curves, reconstructions and channels. Started again, the study continues at
the first stage that is not complete. A trained network is taken from its folder: `--config.runs.deconv=runs/deconv`;
`--config.include='("deconv",)'` leaves the others out. `:tiny` takes 100 s of CPU time.
"""

import ml_collections


def _network(*, decoder: bool, unpool: str) -> dict:
    """A network of the study: configs/deconv.py without data and seed."""
    return dict(
        experiment='train_deconv',
        model=dict(name='deconv', decoder=decoder, unpool=unpool, dtype='float32'),
        preprocess=dict(  # images in [-1, 1]
            mean=(0.5,) * 3, std=(0.5,) * 3, crop_padding_px=4, crop_padding_mode='zeros', flip=True, flip_mode='random'
        ),
        objective=dict(reconstruction_weight=2.0, pictures_every_epochs=10.0, test_curves=True),
        optimizer=dict(
            name='sgd',
            learning_rate=0.05,
            weight_decay=0.0,
            momentum=0.9,
            nesterov=False,
            schedule='cosine',
            warmup_epochs=0.0,
            start_learning_rate=0.0,
            end_learning_rate=0.0,
            clip_norm=0.0,
            norm_bias_rate=1.0,  # factor on the rate of the biases of BatchNorm
            lookahead_steps=0,  # 0: off
            lookahead_share=0.5,
            lookahead_power=0.0,  # above 0: the share falls from 1 to lookahead_share
            ema_decay=0.0,  # 0: off
        ),
        train=dict(
            epochs=20.0,
            max_steps=0,  # 0: no cap
            log_every_steps=50,
            eval_every_epochs=1.0,
            checkpoint_every_epochs=1.0,
            keep_checkpoints=2,
            best_metric='loss',
            best_mode='min',
            steps_per_dispatch=16,  # always 1 on a CPU
            n_seeds=1,  # a study trains one seed
            n_devices=0,  # 0: all
            logger='tensorboard',  # or 'csv', 'wandb'
        ),
        watch=dict(every_epochs=0.0, n_images=500, layer='fc2', human='cifar10h'),  # 0: alignment is not watched
        layers=(),  # none is compared with people
    )


def get_config(size: str = 'full') -> ml_collections.ConfigDict:
    if size not in ('full', 'tiny'):
        raise ValueError(f'configs/latent_recon.py has no variant {size!r}: full or tiny.')
    c = ml_collections.ConfigDict()
    c.experiment = 'study'  # humalign_jax/experiments/study.py
    c.seed = 0
    c.data = dict(name='cifar10', root='', batch_size=128, n_validation=5000, target='label')
    c.networks = dict(
        deconv=_network(decoder=True, unpool='switches'),
        deconv_nearest=_network(decoder=True, unpool='nearest'),
        classifier=_network(decoder=False, unpool='switches'),
    )
    c.channels = dict(
        checkpoint='best',
        batch_size=100,  # images at a time; every image is decoded 45 times
        n_devices=0,  # 0: all
        pictures=dict(ids=('cifar10/train/00006', 'cifar10/test/00003')),  # a bird and an airplane
    )
    c.report = dict(
        title='What does a latent code keep?',
        layers=(),
        human_measure='cosine',
        n_images=0,
        claims=(),
        recipe_epochs=dict(deconv=20.0),
    )
    if size == 'tiny':
        c.data = dict(name='synthetic', root='', batch_size=16, n_validation=64, target='label')
        c.data.n_train, c.data.n_test = 1024, 128
        for network in c.networks.values():
            network.preprocess.update(crop_padding_px=0, flip=False)
            network.objective.update(pictures_every_epochs=4.0)
            network.optimizer.update(learning_rate=0.02)
            network.train.update(epochs=8.0, log_every_steps=8)
            network.watch.update(n_images=32, human='synthetic')
        c.channels.pictures.ids = ('synthetic/train/00006', 'synthetic/test/00003')
    c.include = ()  # names of networks to study, () for all
    c.runs = {name: '' for name in c.networks}  # folder of a run that is there already, '' to train here
    return c
