r"""PhilNet on CIFAR-10: cross-entropy, AdamW, cosine, random crop and flip.

    python -m humalign_jax.main --config=configs/philnet.py --workdir=runs/philnet
    python -m humalign_jax.main --config=configs/philnet.py:short --workdir=runs/philnet-short
    python -m humalign_jax.main --config=configs/philnet.py:fast --workdir=runs/philnet-fast
    python -m humalign_jax.main --config=configs/philnet.py:tiny    # seconds, on a CPU

Goal: test accuracy of at least 92.5 % after 50 epochs; not measured yet. `short` trains the same network by SGD with
Nesterov momentum for 5 epochs, about an hour on two CPU cores. Measured: 80.4 % [79.7, 81.2] (seed 0, n = 10,000);
see docs/results/README.md. `fast` needs few passes over the images: SGD at a high rate that falls in a straight line,
label smoothing, lookahead, quick biases of BatchNorm, convolutions that start as copies of their input, alternating
flips and reflected padding; it also scores the mean of two views. Validation images chose it, see
docs/results/philnet_fast/README.md. Measured after 12 epochs: 89.4 % [88.7, 89.9], two views 89.8 %. `fast_tiny` is
`fast` in seconds.
"""

import ml_collections


def get_config(size: str = 'full') -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.experiment = 'train_classifier'  # humalign_jax/experiments/train_classifier.py
    c.seed = 0
    c.data = dict(name='cifar10', root='', batch_size=128, n_validation=5000, target='label')
    c.preprocess = dict(
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        crop_padding_px=4,
        crop_padding_mode='zeros',
        flip=True,
        flip_mode='random',
    )
    c.model = dict(name='philnet', dropout_rate=0.4, identity_init=False, dtype='float32')
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
    if size in ('fast', 'fast_tiny'):
        c.preprocess.update(crop_padding_px=2, crop_padding_mode='reflect', flip_mode='alternating')
        c.model.update(dropout_rate=0.0, identity_init=True)
        c.objective.update(label_smoothing=0.2, mirrored_views=True)
        c.optimizer.update(name='sgd', momentum=0.85, nesterov=True, learning_rate=0.19, weight_decay=1.33e-3)
        c.optimizer.update(schedule='linear', warmup_epochs=2.4, norm_bias_rate=64.0)
        c.optimizer.update(lookahead_steps=5, lookahead_share=0.25, lookahead_power=3.0)
        c.train.update(epochs=12.0, best_metric='accuracy', best_mode='max')  # at a rate of 0 the last is the best
    if size in ('tiny', 'fast_tiny'):
        c.data.update(name='synthetic', batch_size=32, n_validation=64)
        c.data.n_train, c.data.n_test = 320, 128
        c.model.widths = ((8, 8), (16, 16), (32, 32))
        c.optimizer.update(warmup_epochs=0.0 if size == 'tiny' else 0.4)
        c.train.update(epochs=2.0, log_every_steps=2)
        c.watch.update(n_images=32, human='synthetic')
    elif size == 'short':
        c.optimizer.update(name='sgd', learning_rate=0.1, weight_decay=5e-4, warmup_epochs=1.0)
        c.optimizer.update(momentum=0.9, nesterov=True)
        c.train.update(epochs=5.0)
    elif size not in ('full', 'fast'):
        raise ValueError(f'configs/philnet.py has no variant {size!r}: full, short, fast, tiny or fast_tiny.')
    return c
