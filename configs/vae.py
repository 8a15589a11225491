r"""VAE on CIFAR-10: L1 reconstruction plus KL, 256 latents.

    python -m humalign_jax.main --config=configs/vae.py --workdir=runs/vae
    python -m humalign_jax.main --config=configs/vae.py:tiny    # seconds, on a CPU

Both terms are summed per image. Measured runs (test L1, KL, time, hardware): docs/results/README.md.
"""

import ml_collections


def get_config(size: str = 'full') -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.experiment = 'train_vae'  # humalign_jax/experiments/train_vae.py
    c.seed = 0
    c.data = dict(name='cifar10', root='', batch_size=128, n_validation=5000, target='label')
    c.preprocess = dict(  # images in [0, 1]
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        crop_padding_px=0,
        crop_padding_mode='zeros',
        flip=True,
        flip_mode='random',
    )
    c.model = dict(name='vae', latent_dim=256, dtype='float32')
    c.objective = dict(kl_weight=1.0, kl_warmup_epochs=5.0, pictures_every_epochs=5.0)
    c.optimizer = dict(
        name='adamw',
        learning_rate=1e-3,
        weight_decay=1e-4,
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
        layer='mu',
        human='cifar10h',  # of test images, to lie in data.root; 'synthetic': simulated, of validation images
    )
    if size == 'tiny':
        c.data.update(name='synthetic', batch_size=32, n_validation=64)
        c.data.n_train, c.data.n_test = 320, 128
        c.model.update(latent_dim=16)
        c.model.widths = (8, 16, 16, 32)
        c.objective.update(kl_warmup_epochs=1.0, pictures_every_epochs=1.0)
        c.train.update(epochs=2.0, log_every_steps=2)
        c.watch.update(n_images=32, human='synthetic')
    elif size != 'full':
        raise ValueError(f'configs/vae.py has no variant {size!r}: full or tiny.')
    return c
