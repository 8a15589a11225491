r"""Classifier with a deconvolution decoder on CIFAR-10: cross-entropy + 2 * MSE, 64,865 parameters.

    python -m humalign_jax.main --config=configs/deconv.py --workdir=runs/deconv
    python -m humalign_jax.main --config=configs/deconv.py --config.model.decoder=False --workdir=runs/classifier
    python -m humalign_jax.main --config=configs/deconv.py --config.model.unpool=nearest --workdir=runs/noswitch
    python -m humalign_jax.main --config=configs/deconv.py:faithful --workdir=runs/faithful
    python -m humalign_jax.main --config=configs/deconv.py:tiny    # seconds, on a CPU

`faithful` is the published recipe (batches of 4, SGD at 0.001, no augmentation), except that 5,000 training images are
held out to choose the checkpoint, and that weights start from He's distribution. Switches carry the positions of
maxima past the code; `unpool=nearest` does not. Measured runs: docs/results/README.md.
"""

import ml_collections


def get_config(size: str = 'full') -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.experiment = 'train_deconv'  # humalign_jax/experiments/train_deconv.py
    c.seed = 0
    c.data = dict(name='cifar10', root='', batch_size=128, n_validation=5000, target='label')
    c.preprocess = dict(  # images in [-1, 1]
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        crop_padding_px=4,
        crop_padding_mode='zeros',
        flip=True,
        flip_mode='random',
    )
    c.model = dict(
        name='deconv',
        decoder=True,  # False: the classifier alone
        unpool='switches',  # 'nearest': nothing but the code reaches the decoder
        dtype='float32',
    )
    c.objective = dict(
        reconstruction_weight=2.0,  # lambda: of the mean squared error, beside a cross-entropy of weight 1
        pictures_every_epochs=10.0,  # and before training; 0: none
        test_curves=True,  # test loss by epoch, for the figure; the validation images choose the checkpoint
    )
    c.optimizer = dict(
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
    )
    c.train = dict(
        epochs=20.0,
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
        layer='fc2',
        human='cifar10h',  # of test images, to lie in data.root; 'synthetic': simulated, of validation images
    )
    if size == 'tiny':
        c.data.update(name='synthetic', batch_size=32, n_validation=64)
        c.data.n_train, c.data.n_test = 320, 128
        c.objective.update(pictures_every_epochs=1.0)
        c.train.update(epochs=2.0, log_every_steps=2)
        c.watch.update(n_images=32, human='synthetic')
    elif size == 'faithful':
        c.seed = 1234
        c.data.update(batch_size=4)
        c.preprocess.update(crop_padding_px=0, flip=False)
        c.optimizer.update(learning_rate=0.001, schedule='constant')
        c.train.update(log_every_steps=2000)
    elif size != 'full':
        raise ValueError(f'configs/deconv.py has no variant {size!r}: full, faithful or tiny.')
    return c
