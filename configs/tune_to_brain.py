r"""Tunes a trained classifier to predict voxels, and keeps its class probabilities by distillation.

    python -m humalign_jax.main --config=configs/tune_to_brain.py --config.run=runs/resnet18 \
        --config.human.root=nsd/subj01 --workdir=runs/tuned
    python -m humalign_jax.main --config=configs/tune_to_brain.py:faithful --config.run=runs/resnet18 \
        --config.human.root=nsd/subj01 --workdir=runs/tuned-faithful
    python -m humalign_jax.main --config=configs/tune_to_brain.py:tiny    # seconds, on a CPU

`config.run` is the --workdir of any classifier's run, also of an imported one; human.root is a folder in the NSD layout
(docs/tuning.md). `faithful` is the published recipe: Adam at 1e-4 with coupled decay, batch statistics of the voxel
images, random crops and flips, and the voxel images that are scored choose the checkpoint. The default freezes the
statistics, replays CIFAR images, warms up the head, and does not augment.
Controls: configs/sweeps/tune_to_brain_controls.py.
"""

import ml_collections


def get_config(size: str = 'better') -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.experiment = 'tune_to_brain'  # humalign_jax/experiments/tune_to_brain.py
    c.seed = 0
    c.run = ''  # the --workdir of a classifier's run: student and teacher; 'synthetic': an untrained network
    c.checkpoint = 'best'  # 'best' by validation, 'newest', or a step
    c.recipe = 'better'  # what reports call these settings
    c.condition = 'tuned'  # or a control: 'shuffled' (responses of other images), 'distillation' (the voxels train the
    # head only), 'untuned' (the network stays as it is, the head is trained)
    c.data = dict(
        root='',  # folder with the classifier's images; '': where its run found them
        batch_size=128,  # voxel images
        replay_per_image=1,  # images of the classifier's training set beside each voxel image; 0: none
    )
    c.human = dict(
        name='nsd',  # 'synthetic': voxels made of the pixels of the classifier's own images
        root='',  # folder with train/ and val/
        images='',  # folder below which relative image paths lie; '': root
        rois=('V4',),  # (): all
        n_validation=200,  # training images held out to choose the checkpoint; 0: those of val/, which are scored, too
    )
    c.augment = dict(  # of voxel images: crops and flips move what voxels see
        crop_padding_px=0, crop_padding_mode='zeros', flip=False, flip_mode='random'
    )
    c.objective = dict(
        layer='layer4',  # that the head reads
        neural_loss='mse',  # or 'correlation': over the voxels of each image
        distillation_weight=1.0,  # alpha
        temperature=1.0,
        train_statistics=False,  # True: BatchNorm's statistics come from, and follow, the batches
        test_curves=False,  # measures the test images by epoch, too; they choose nothing
    )
    c.head = dict(
        pool='none',  # 'mean': the mean of the map
        positive=False,  # ELU + 1 at its end
        zero_start=True,  # starts with zeros; False: with random weights
        warmup_epochs=1.0,  # epochs in which the head learns alone
        rate_factor=1.0,  # learning rate of the head over that of the network
    )
    c.optimizer = dict(
        name='adam',
        learning_rate=1e-4,
        weight_decay=0.01,  # added to the gradient
        decay_all=True,
        schedule='constant',
        warmup_epochs=0.0,
        start_learning_rate=0.0,
        end_learning_rate=0.0,
        clip_norm=0.0,
    )
    c.train = dict(
        epochs=10.0,
        max_steps=0,  # 0: no cap
        log_every_steps=20,
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
    c.n_bootstrap = 1000
    if size == 'faithful':
        c.recipe = 'faithful'
        c.data.update(replay_per_image=0)
        c.human.update(n_validation=0)
        c.augment.update(crop_padding_px=4, flip=True)
        c.objective.update(train_statistics=True)
        c.head.update(zero_start=False, warmup_epochs=0.0)
    elif size == 'tiny':
        c.run = 'synthetic'
        c.data.update(batch_size=16)
        c.human.update(name='synthetic', n_validation=20)
        c.objective.update(layer='layer3')
        c.train.update(epochs=2.0, log_every_steps=1)
        c.n_bootstrap = 20
    elif size != 'better':
        raise ValueError(f'configs/tune_to_brain.py has no variant {size!r}: better, faithful or tiny.')
    return c
