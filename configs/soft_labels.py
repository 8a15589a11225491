r"""Fine-tunes a trained classifier on people's soft labels, fold by fold, beside a control with hard labels.

    python -m humalign_jax.main --config=configs/soft_labels.py --config.run=runs/philnet --workdir=runs/soft_labels
    python -m humalign_jax.main --config=configs/soft_labels.py:tiny    # makes runs/philnet-tiny first

The run must be one of train_classifier. Its test images are divided into folds, and each fold is scored by a network
that was trained on the other folds. Learning rate and epochs are fixed here and do not depend on the scored folds.
`n_validation_folds=1` sets one of the training folds aside: it chooses the epoch (by cross-entropy to people, in both
arms) and fits a temperature for the `_scaled` scores.

Ten folds, two arms and 5 epochs are 900,000 training images: 3.5 hours for PhilNet at the 72 images/s of one CPU core.
A stopped run continues with the missing arms and folds.
"""

import ml_collections


def get_config(size: str = 'full') -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.experiment = 'train_soft_labels'  # humalign_jax/experiments/train_soft_labels.py
    c.seed = 0
    c.run = 'runs/philnet'  # a training run's --workdir; its preprocessing and augmentation are kept
    c.checkpoint = 'best'  # 'best' by validation, 'newest', or a step
    c.model_name = ''  # name in the study; '' for the run's own
    c.human = dict(name='cifar10h', root='')  # root: of images and answers, '' for where the run found its images
    c.arms = ('pretrained', 'human', 'hard')
    c.folds = 10
    c.which_folds = ()  # () for all
    c.n_validation_folds = 0
    c.max_images = 0  # 0: all; else the first so many
    c.n_bootstrap = 1000
    c.objective = dict(human_weight=1.0, label_smoothing=0.0)  # target: weight * people + (1 - weight) * label
    c.optimizer = dict(
        name='adamw',
        learning_rate=2e-4,
        weight_decay=5e-3,
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
        epochs=5.0,
        batch_size=120,  # divides 9,000 images, and divides among up to 6 and among 8 devices
        steps_per_dispatch=16,  # always 1 on a CPU
        n_devices=0,  # 0: all
    )
    if size == 'tiny':
        c.run = 'runs/philnet-tiny'
        c.human.name = 'synthetic'
        c.folds = 3
        c.n_bootstrap = 100
        c.train.update(epochs=2.0, batch_size=16)
    elif size != 'full':
        raise ValueError(f'configs/soft_labels.py has no variant {size!r}: full or tiny.')
    return c
