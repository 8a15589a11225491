r"""ResNet-18, 34 or 50 on CIFAR-10: cross-entropy, SGD with Nesterov momentum, warm-up and cosine.

    python -m humalign_jax.main --config=configs/resnet.py:18 --workdir=runs/resnet18
    python -m humalign_jax.main --config=configs/resnet.py:50 --config.model.keep_maxpool=False
    python -m humalign_jax.main --config=configs/resnet.py:tiny    # seconds, on a CPU

`keep_maxpool=True` is the stem of the neural-tuning study (layer4 is 512x2x2); False is the usual stem for CIFAR.
"""

import ml_collections


def get_config(size: str = '18') -> ml_collections.ConfigDict:
    depth = '18' if size == 'tiny' else size
    if depth not in ('18', '34', '50'):
        raise ValueError(f'configs/resnet.py has no variant {size!r}: 18, 34, 50 or tiny.')
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
    c.model = dict(name=f'resnet{depth}', keep_maxpool=True, dtype='float32')
    c.objective = dict(label_smoothing=0.0, mirrored_views=False)  # True: also scores two views, one mirrored
    c.optimizer = dict(
        name='sgd',
        learning_rate=0.1,
        weight_decay=5e-4,
        momentum=0.9,
        nesterov=True,
        schedule='cosine',
        warmup_epochs=5.0,
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
        epochs=150.0,
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
        every_epochs=0.0,  # alignment with people during training, such as 1.0; 0: off
        n_images=500,  # stratified; left out of the final scores if best_metric='alignment/rsa' chooses by them
        layer='penultimate',
        human='cifar10h',  # of test images, to lie in data.root; 'synthetic': simulated, of validation images
    )
    if size == 'tiny':
        c.data.update(name='synthetic', batch_size=16, n_validation=32)
        c.data.n_train, c.data.n_test = 80, 32
        c.optimizer.update(warmup_epochs=0.0, learning_rate=0.01)
        c.train.update(epochs=1.0, log_every_steps=1)
        c.watch.update(n_images=32, human='synthetic')
    return c
