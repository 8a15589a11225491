r"""DigitNet on MNIST: cross-entropy, AdamW, cosine, images shifted by up to two pixels.

    python -m humalign_jax.main --config=configs/digitnet.py --config.data.root=DIR --workdir=runs/digitnet
    python -m humalign_jax.main --config=configs/digitnet.py:course --config.data.root=DIR --workdir=runs/course
    python -m humalign_jax.main --config=configs/digitnet.py:tiny    # seconds, rendered images

`course` is the recipe of PyTorch's first MNIST example: SGD with momentum, dropout, no shifts, 10 epochs.
Measured: test accuracy 99.36 % [99.18, 99.50], 6 minutes on a CPU; `course` 98.06 % [97.77, 98.31]; seed 0,
n = 10,000; see docs/results/README.md.
"""

import ml_collections


def get_config(size: str = 'full') -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.experiment = 'train_classifier'  # humalign_jax/experiments/train_classifier.py
    c.seed = 0
    c.data = dict(name='mnist', root='', batch_size=128, n_validation=5000, target='label')
    c.preprocess = dict(
        mean=(0.1307,), std=(0.3081,), crop_padding_px=2, crop_padding_mode='zeros', flip=False, flip_mode='random'
    )
    c.model = dict(name='digitnet', dropout_rate=0.0, dtype='float32')
    c.objective = dict(label_smoothing=0.0, mirrored_views=False)  # True: also scores two views, one mirrored
    c.optimizer = dict(
        name='adamw',
        learning_rate=3e-3,
        weight_decay=1e-2,
        schedule='cosine',
        warmup_epochs=0.5,
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
        epochs=20.0,
        max_steps=0,  # 0: no cap
        log_every_steps=50,
        eval_every_epochs=1.0,
        checkpoint_every_epochs=5.0,
        keep_checkpoints=2,
        best_metric='loss',
        best_mode='min',
        steps_per_dispatch=16,  # always 1 on a CPU
        n_seeds=1,  # above 1: seed, seed + 1 and so on in one program, a folder each
        n_devices=0,  # 0: all
        logger='tensorboard',  # or 'csv', 'wandb'
    )
    c.watch = dict(
        every_epochs=0.0,  # alignment with people during training; 0: off, there are no answers to MNIST
        n_images=500,  # stratified
        layer='fc1',
        human='synthetic',  # simulated observers of rendered images
    )
    if size == 'tiny':
        c.data.update(name='synthetic', batch_size=32, n_validation=64)
        c.data.n_train, c.data.n_test, c.data.image = 320, 128, 'grey'
        c.optimizer.update(warmup_epochs=0.0)
        c.train.update(epochs=2.0, log_every_steps=2)
        c.watch.update(n_images=32)
    elif size == 'course':
        c.data.update(batch_size=64)
        c.preprocess.update(crop_padding_px=0)
        c.model.update(dropout_rate=0.5)
        c.optimizer.update(name='sgd', learning_rate=0.01, weight_decay=0.0, schedule='constant', warmup_epochs=0.0)
        c.optimizer.update(momentum=0.5, nesterov=False)
        c.train.update(epochs=10.0)
    elif size != 'full':
        raise ValueError(f'configs/digitnet.py has no variant {size!r}: full, course or tiny.')
    return c
