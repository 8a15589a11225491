r"""Does label smoothing make PhilNet more human-like? A study of PhilNet alone for each amount, three seeds each.

    python launch/sweep.py configs/sweeps/label_smoothing.py --workdir=runs/smoothing --submit --config.data.root=DIR
    python launch/sweep.py configs/sweeps/label_smoothing.py:tiny --workdir=runs/tiny_smoothing   # minutes, on a CPU
    python launch/sweep.py --workdir=runs/tiny_smoothing --scores accuracy \
        rsa/spearman:model=philnet,layer=penultimate,level=image,pairs=partial
"""


def get_sweep(size: str = 'full') -> list[dict[str, object]]:
    if size not in ('full', 'tiny'):
        raise ValueError(f'configs/sweeps/label_smoothing.py has no variant {size!r}: full or tiny.')
    config, amounts, seeds = 'configs/quickstart.py:cifar10', (0.0, 0.05, 0.1, 0.2), (0, 1, 2)
    if size == 'tiny':
        config, amounts, seeds = 'configs/quickstart.py:tiny', (0.0, 0.2), (0, 1)
    return [
        {
            'config': config,
            'config.include': ('philnet',),
            'config.soft_labels.network': '',  # no fine-tuning
            'config.networks.philnet.objective.label_smoothing': amount,
            'config.seed': seed,
        }
        for amount in amounts
        for seed in seeds
    ]
