r"""What makes meta-learned features human-like? The published model and ten ablations, three seeds each.

    python launch/sweep.py configs/sweeps/metalearner_ablations.py --workdir=runs/ablations --submit \
        --config.data.features=features.h5 --config.functions.main=sae.npz --config.functions.mid=mid_sae.npz
    python launch/sweep.py configs/sweeps/metalearner_ablations.py:tiny --workdir=runs/tiny_ablations   # minutes
    python launch/sweep.py --workdir=runs/ablations --scores 'functions/accuracy:of=held out'

The folder features/ of each point is what configs/odd_one_out.py, learning.py and rsa.py read.
"""

ABLATIONS: dict[str, dict[str, object]] = {
    'main': {},
    'midsae': {'functions.use': 'mid'},
    'raw': {'functions.use': 'raw'},
    'static_linear': {'model.name': 'static_linear'},
    'lstm': {'model.core': 'lstm'},
    '2layers': {'model.n_layers': 2},
    'mlp': {'model.mlp_width': 3072},
    '8heads': {'model.n_heads': 8},
    '32heads': {'model.n_heads': 32},
    'wd': {'optimizer.weight_decay': 1e-4},
    'noemb': {'model.embed': False},
}


def get_sweep(size: str = 'paper') -> list[dict[str, object]]:
    if size not in ('paper', 'tiny'):
        raise ValueError(f'configs/sweeps/metalearner_ablations.py has no variant {size!r}: paper or tiny.')
    ablations, seeds = dict(ABLATIONS), (0, 1, 2)
    if size == 'tiny':  # 32 features have 4 heads in main
        ablations |= {'mlp': {'model.mlp_width': 64}, '8heads': {'model.n_heads': 2}, '32heads': {'model.n_heads': 8}}
        seeds = (0,)
    return [
        {
            'config': f'configs/metalearner.py:{size}',
            **{f'config.{key}': value for key, value in changes.items()},
            'config.seed': seed,
        }
        for changes in ablations.values()
        for seed in seeds
    ]
