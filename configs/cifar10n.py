r"""PhilNet on CIFAR-10 with people's labels of the training images (CIFAR-10N) as the target, tested on the labels.

    python -m humalign_jax.main --config=configs/cifar10n.py --workdir=runs/cifar10n
    python -m humalign_jax.main --config=configs/cifar10n.py:worst --workdir=runs/cifar10n-worst
    python -m humalign_jax.main --config=configs/cifar10n.py:tiny    # seconds, on a CPU

Variants: full (shares of three people's labels), aggregate (majority of the three labels), worst (a wrong label where
any of the three is wrong), person (one of the three labels, drawn for each image), label (the published labels, as a
control). Needs `cifar10n.npz` beside the images. The checkpoint is chosen by the same labels on the validation images,
so no published label of the training set is used; accuracy always refers to the published labels. The tiny variant
trains on rendered images and the soft labels of simulated observers.
"""

import ml_collections

TARGETS = {
    'full': 'cifar10n',
    'aggregate': 'cifar10n_aggregate',
    'worst': 'cifar10n_worst',
    'person': 'cifar10n_person',
    'label': 'label',
    'tiny': 'soft_label',
}


def get_config(size: str = 'full') -> ml_collections.ConfigDict:
    if size not in TARGETS:
        raise ValueError(f'configs/cifar10n.py has no variant {size!r}: {", ".join(TARGETS)}.')
    c = ml_collections.ConfigDict()
    c.experiment = 'train_classifier'  # humalign_jax/experiments/train_classifier.py
    c.seed = 0
    c.data = dict(name='cifar10', root='', batch_size=128, n_validation=5000, target=TARGETS[size])
    c.preprocess = dict(
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        crop_padding_px=4,
        crop_padding_mode='zeros',
        flip=True,
        flip_mode='random',
    )
    c.model = dict(name='philnet', dropout_rate=0.4, dtype='float32')
    c.objective = dict(label_smoothing=0.0, mirrored_views=False)  # True: also scores two views, one mirrored
    c.optimizer = dict(
        name='adamw',
        learning_rate=1e-3,
        weight_decay=5e-3,
        schedule='cosine',
        warmup_epochs=2.0,
        start_learning_rate=0.0,
        end_learning_rate=0.0,
        clip_norm=0.0,
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
        checkpoint_every_epochs=1.0,
        keep_checkpoints=2,
        best_metric='loss',
        best_mode='min',
        steps_per_dispatch=16,  # always 1 on a CPU
        n_seeds=1,  # above 1: seed, seed + 1 and so on in one program, a folder each
        n_devices=0,  # 0: all
        logger='tensorboard',  # or 'csv', 'wandb'
    )
    c.watch = dict(
        every_epochs=0.0,  # alignment with people during training, such as 1.0; 0: off
        n_images=500,  # stratified; left out of the final scores if best_metric='alignment/rsa' chooses by them
        layer='penultimate',
        human='cifar10h',  # of test images, to lie in data.root; 'synthetic': simulated, of validation images
    )
    if size == 'tiny':
        c.data.update(name='synthetic', batch_size=32, n_validation=64)
        c.data.n_train, c.data.n_test = 320, 128
        c.model.widths = ((8, 8), (16, 16), (32, 32))
        c.optimizer.update(warmup_epochs=0.0)
        c.train.update(epochs=2.0, log_every_steps=2)
        c.watch.update(n_images=32, human='synthetic')
    return c
