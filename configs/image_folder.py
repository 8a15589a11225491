r"""A ResNet-18 on your own images in folders named after their classes: SGD with Nesterov momentum, warm-up and cosine.

    python -m humalign_jax.main --config=configs/image_folder.py --config.data.root=DIR --workdir=runs/own
    python -m humalign_jax.main --config=configs/image_folder.py:tiny    # seconds, on a CPU

DIR holds `<split>/<class>/<image>` with the splits train and test, or `<class>/<image>`; then `test_share` of each
class is held out. Images may lie deeper in the folder of their class. `tiny` runs on rendered images.
"""

import ml_collections


def get_config(size: str = 'full') -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.experiment = 'train_classifier'  # humalign_jax/experiments/train_classifier.py
    c.seed = 0
    c.data = dict(
        name='image_folder',
        root='',  # the folder
        dataset='image_folder',  # first part of every stimulus id; give each folder a name of its own
        size_px=64,  # side of the square images
        fit='crop',  # 'crop' takes the centre, 'stretch' all
        grey=False,  # one channel; then preprocess.mean and std need one number each
        test_share=0.2,  # of each class, held out for test where there are no split folders
        split_seed=0,  # which images are held out; config.seed does not change them
        batch_size=64,
        n_validation=100,  # cut from train, of each class its share
        target='label',
    )
    c.preprocess = dict(
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        crop_padding_px=4,
        crop_padding_mode='zeros',
        flip=True,
        flip_mode='random',
    )
    c.model = dict(name='resnet18', keep_maxpool=True, dtype='float32')
    c.objective = dict(label_smoothing=0.0, mirrored_views=False)  # True: also scores two views, one mirrored
    c.optimizer = dict(
        name='sgd',
        learning_rate=0.05,
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
        epochs=100.0,
        max_steps=0,  # 0: no cap
        log_every_steps=10,
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
        every_epochs=0.0, n_images=500, layer='penultimate', human=''
    )  # people's answers are to CIFAR-10 only
    if size == 'tiny':
        c.data = dict(name='synthetic', root='', batch_size=16, n_validation=32, target='label', n_train=80, n_test=32)
        c.model = dict(name='philnet', widths=((8, 8), (16, 16)), dropout_rate=0.4, dtype='float32')
        c.optimizer.update(warmup_epochs=0.0, learning_rate=0.01)
        c.train.update(epochs=1.0, log_every_steps=1)
    elif size != 'full':
        raise ValueError(f'configs/image_folder.py has no variant {size!r}: full or tiny.')
    return c
