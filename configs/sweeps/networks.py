r"""Every network that the package trains, three seeds each: how large are differences between seeds?

python launch/sweep.py configs/sweeps/networks.py --workdir=runs/networks --submit
python launch/sweep.py configs/sweeps/networks.py:tiny --workdir=runs/tiny_networks    # minutes
"""

_NETWORKS = ('philnet', 'resnet:18', 'resnet:34', 'resnet:50', 'vae')


def get_sweep(size: str = 'full') -> list[dict[str, object]]:
    if size not in ('full', 'tiny'):
        raise ValueError(f'configs/sweeps/networks.py has no variant {size!r}: full or tiny.')
    networks = _NETWORKS if size == 'full' else ('philnet:tiny', 'resnet:tiny', 'vae:tiny')
    sweep = []
    for network in networks:
        name, _, variant = network.partition(':')
        config = f'configs/{name}.py' + (f':{variant}' if variant else '')
        sweep += [{'config': config, 'config.seed': seed} for seed in range(3)]
    return sweep
