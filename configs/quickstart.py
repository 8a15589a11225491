r"""The whole study: trains networks, compares them with people, and writes a page with the answer.

    python -m humalign_jax.main --config=configs/quickstart.py --workdir=runs/quickstart    # rendered images, minutes
    python -m humalign_jax.main --config=configs/quickstart.py:cifar10 --config.data.root=DIR --workdir=runs/study
    python -m humalign_jax.main --config=configs/quickstart.py:tiny    # under a minute, tests

The default needs no data: the package renders the images and simulates the observers, so the true similarity is known.
`:cifar10` is the same study with CIFAR-10, CIFAR-10H and full training of PhilNet, ResNet-18, ResNet-50 and the VAE.
Started again, the study continues at the first stage that is not complete. A network that is already trained is taken
from its folder: `--config.runs.philnet=runs/philnet`.
"""

import ml_collections

CLASSIFIER_LAYERS = ('block1', 'block2', 'block3', 'penultimate', 'logits', 'probs')
RESNET_LAYERS = ('layer1', 'layer2', 'layer3', 'layer4', 'penultimate', 'logits', 'probs')
VAE_LAYERS = ('encoder2', 'encoder3', 'encoder4', 'mu')
OPTIMIZER = dict(
    name='adamw',
    learning_rate=1e-3,
    weight_decay=5e-3,
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
)
SGD = {**OPTIMIZER, 'name': 'sgd', 'learning_rate': 0.1, 'weight_decay': 5e-4, 'momentum': 0.9, 'nesterov': True}
TRAIN = dict(
    epochs=10.0,
    max_steps=0,  # 0: no cap
    log_every_steps=16,
    eval_every_epochs=1.0,
    checkpoint_every_epochs=5.0,
    keep_checkpoints=2,
    best_metric='loss',
    best_mode='min',
    steps_per_dispatch=16,  # always 1 on a CPU
    n_seeds=1,  # a study trains one seed
    n_devices=0,  # 0: all
    logger='tensorboard',  # or 'csv', 'wandb'
)
WATCH = dict(every_epochs=1.0, n_images=100, layer='penultimate', human='synthetic')  # alignment in the training curves


def _network(model, layers, *, experiment='train_classifier', optimizer, train, watch) -> dict:
    """A network of the study: a training config without data and seed, and the layers that are compared."""
    is_vae = experiment == 'train_vae'
    classifier = dict(
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        crop_padding_px=4,
        crop_padding_mode='zeros',
        flip=True,
        flip_mode='random',
    )
    plain = dict(mean=(0.0,) * 3, std=(1.0,) * 3, crop_padding_px=0)  # images in [0, 1]
    return dict(
        experiment=experiment,
        model=model,
        preprocess={**classifier, **plain} if is_vae else classifier,
        objective=dict(kl_weight=1.0, kl_warmup_epochs=5.0, pictures_every_epochs=5.0)
        if is_vae
        else dict(label_smoothing=0.0, mirrored_views=False),
        optimizer={**OPTIMIZER, **optimizer},
        train={**TRAIN, **train},
        watch={**WATCH, **watch},
        layers=layers,
    )


def _embedded_networks() -> dict:
    """Two classifiers, one of them weaker, and a VAE, small enough for a laptop."""
    quick, none = dict(learning_rate=5e-3), {}
    return dict(
        philnet=_network(
            dict(name='philnet', dropout_rate=0.4, dtype='float32', widths=((8, 8), (16, 16), (32, 32))),
            CLASSIFIER_LAYERS, optimizer=quick, train=none, watch=none,
        ),
        weak=_network(
            dict(name='philnet', dropout_rate=0.4, dtype='float32', widths=((2, 2), (4, 4), (4, 4))),
            CLASSIFIER_LAYERS, optimizer=quick, train=dict(epochs=2.0), watch=none,
        ),
        vae=_network(
            dict(name='vae', latent_dim=16, dtype='float32', widths=(8, 16, 16, 32)), VAE_LAYERS,
            experiment='train_vae', optimizer=quick, train=none, watch=dict(layer='mu'),
        ),
    )  # fmt: skip


def _cifar10_networks() -> dict:
    """The study's networks with their full recipes, as in configs/philnet.py, resnet.py and vae.py."""
    long = dict(log_every_steps=50, checkpoint_every_epochs=1.0)
    sgd, resnet = {**SGD, 'warmup_epochs': 5.0}, dict(keep_maxpool=True, dtype='float32')
    watch = dict(n_images=500, human='cifar10h')
    return dict(
        philnet=_network(
            dict(name='philnet', dropout_rate=0.4, dtype='float32'), CLASSIFIER_LAYERS,
            optimizer=dict(warmup_epochs=2.0), train=dict(epochs=50.0, **long), watch=watch,
        ),
        resnet18=_network(
            dict(name='resnet18', **resnet), RESNET_LAYERS, optimizer=sgd, train=dict(epochs=150.0, **long), watch=watch
        ),
        resnet50=_network(
            dict(name='resnet50', **resnet), RESNET_LAYERS, optimizer=sgd, train=dict(epochs=150.0, **long), watch=watch
        ),
        vae=_network(
            dict(name='vae', latent_dim=256, dtype='float32'), VAE_LAYERS, experiment='train_vae',
            optimizer=dict(weight_decay=1e-4), train=dict(epochs=20.0, **long), watch=dict(layer='mu', **watch),
        ),
    )  # fmt: skip


def get_config(size: str = 'full') -> ml_collections.ConfigDict:
    if size not in ('full', 'cifar10', 'tiny'):
        raise ValueError(f'configs/quickstart.py has no variant {size!r}: full, cifar10 or tiny.')
    c = ml_collections.ConfigDict()
    c.experiment = 'study'  # humalign_jax/experiments/study.py
    c.seed = 0
    if size == 'cifar10':
        c.data = dict(name='cifar10', root='', batch_size=128, n_validation=5000, target='label')
        c.human = dict(name='cifar10h')
        c.networks = _cifar10_networks()
    else:
        c.data = dict(name='synthetic', root='', batch_size=32, n_validation=192, target='label')
        c.data.n_train, c.data.n_test = 2112, 500
        c.human = dict(name='synthetic', n_test=500)
        c.networks = _embedded_networks()
    c.extract = dict(checkpoint='best', batch_size=256, max_memory_gb=4.0, n_devices=0)
    c.alignment = dict(n_bootstrap=1000, n_splits=20)
    c.human_rsa = dict(
        n_devices=0,  # 0: all
        layers=(),  # () for all that were extracted
        headline=('mu', 'penultimate'),
        measure='correlation',
        human_measure='cosine',
        index='spearman',
        levels=('image', 'class'),
        pairs=('all', 'within', 'between', 'partial'),
        baselines=('same category', 'class-mean human label', 'pixels'),
        n_splits=4,
        n_bootstrap=1000,
        n_draws=10000,
    )
    c.latents = dict(
        checkpoint='best',
        activity=dict(kl_nats=0.01, mean_variance=0.01),
        pictures=dict(
            n_per_class=3,
            n_samples=80,
            n_traversed=2,
            n_dimensions=10,
            steps=(-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0),
            n_pairs=8,
            n_between=9,
            width_px=1400,
        ),
        probe=dict(strengths=(1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0), pixels=True),
        rsa=dict(measures=('correlation', 'euclidean')),
    )
    c.soft_labels = dict(
        network='philnet',  # '' to leave this stage out
        checkpoint='best',
        arms=('pretrained', 'human', 'hard'),
        folds=10,
        which_folds=(),
        n_validation_folds=0,
        max_images=0,
        n_bootstrap=1000,
        objective=dict(human_weight=1.0, label_smoothing=0.0),
        optimizer={**OPTIMIZER, 'learning_rate': 2e-4, 'warmup_epochs': 0.5},
        train=dict(epochs=5.0, batch_size=120, steps_per_dispatch=16, n_devices=0),
    )
    c.report = dict(
        title='',
        layers=('penultimate', 'mu', 'probs'),
        human_measure='cosine',
        n_images=12,
        claims=(('vae', 'keeps category structure'),),  # judged on the page; kinds in humalign_jax/report/claims.py
        recipe_epochs=dict(philnet=50.0, vae=20.0, resnet18=150.0, resnet34=150.0, resnet50=150.0),
    )
    if size == 'cifar10':
        c.report.claims = (('philnet', 'is above', 'resnet50'), ('vae', 'keeps category structure'))
    else:
        c.latents.probe.update(strengths=(1e-3, 1e-2, 1e-1, 1.0), pixels=False)
    if size == 'full':
        c.soft_labels.update(folds=3)
        c.soft_labels.train.update(epochs=2.0, batch_size=16)
    if size == 'tiny':
        c.data.update(n_train=320, n_test=120, n_validation=64)
        c.human.update(n_test=120)
        for network in c.networks.values():
            network.train.update(epochs=1.0, log_every_steps=4)
            network.watch.update(n_images=32)
        c.alignment.update(n_bootstrap=100, n_splits=4)
        c.human_rsa.update(n_bootstrap=50, n_draws=500)
        c.latents.pictures.update(n_per_class=1, n_samples=20, n_traversed=1, n_dimensions=4, n_pairs=2, n_between=5)
        c.latents.probe.update(strengths=(1e-2, 1.0), pixels=False)
        c.latents.rsa.update(measures=('correlation',))
        c.soft_labels.update(folds=2, n_bootstrap=100)
        c.soft_labels.train.update(epochs=1.0, batch_size=12)
        c.report.update(n_images=2)
    c.include = ()  # names of networks to study, () for all
    c.runs = {name: '' for name in c.networks}  # folder of a run that is there already, '' to train here
    return c
