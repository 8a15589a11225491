r"""How much reconstruction should train beside classification? Six weights (lambda) of the MSE, three seeds each.

    python launch/sweep.py configs/sweeps/deconv_lambda.py --workdir=runs/lambda --config.data.root=DIR
    python launch/sweep.py configs/sweeps/deconv_lambda.py:tiny --workdir=runs/tiny_lambda   # a minute
    python launch/sweep.py --workdir=runs/lambda --scores accuracy:stage=validation mse:stage=validation

Choose lambda by the validation scores of the last command, and report the test scores (`accuracy:stage=.`) of that one.
"""


def get_sweep(size: str = 'full') -> list[dict[str, object]]:
    if size not in ('full', 'tiny'):
        raise ValueError(f'configs/sweeps/deconv_lambda.py has no variant {size!r}: full or tiny.')
    config, weights, seeds = 'configs/deconv.py', (0.0, 0.5, 1.0, 2.0, 4.0, 8.0), (0, 1, 2)
    if size == 'tiny':
        config, weights, seeds = 'configs/deconv.py:tiny', (0.0, 2.0), (0, 1)
    return [
        {'config': config, 'config.objective.reconstruction_weight': weight, 'config.seed': seed}
        for weight in weights
        for seed in seeds
    ]
