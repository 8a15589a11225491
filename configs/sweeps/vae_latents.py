r"""How many latents does a VAE need? 16 to 512 latents, three seeds each.

python launch/sweep.py configs/sweeps/vae_latents.py --workdir=runs/vae_latents   # here; --jobs=4: four at a time
python launch/sweep.py configs/sweeps/vae_latents.py --workdir=runs/vae_latents --submit    # by SLURM
python launch/sweep.py configs/sweeps/vae_latents.py:tiny --workdir=runs/tiny_latents  # a minute
"""


def get_sweep(size: str = 'full') -> list[dict[str, object]]:
    if size not in ('full', 'tiny'):
        raise ValueError(f'configs/sweeps/vae_latents.py has no variant {size!r}: full or tiny.')
    config, latent_dims, seeds = 'configs/vae.py', (16, 32, 64, 128, 256, 512), (0, 1, 2)
    if size == 'tiny':
        config, latent_dims, seeds = 'configs/vae.py:tiny', (4, 16), (0, 1)
    return [
        {'config': config, 'config.model.latent_dim': latent_dim, 'config.seed': seed}
        for latent_dim in latent_dims
        for seed in seeds
    ]
