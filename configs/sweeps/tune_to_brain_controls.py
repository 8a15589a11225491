r"""Does tuning to the brain need the brain? Three controls, the published recipe, and alpha from 0 to 10, three seeds.

    python launch/sweep.py configs/sweeps/tune_to_brain_controls.py --workdir=runs/tuning \
        --config.run=runs/resnet18 --config.human.root=nsd/subj01
    python launch/sweep.py configs/sweeps/tune_to_brain_controls.py:tiny --workdir=runs/tiny_tuning   # a minute
    python launch/sweep.py --workdir=runs/tuning --scores tuning/accuracy_fall tuning/voxel_r

Controls: responses of other images, distillation only (voxels train the head alone), no tuning (the head alone).
"""

CONTROLS = ('shuffled', 'distillation', 'untuned')
ALPHAS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)


def get_sweep(size: str = 'full') -> list[dict[str, object]]:
    if size not in ('full', 'tiny'):
        raise ValueError(f'configs/sweeps/tune_to_brain_controls.py has no variant {size!r}: full or tiny.')
    better, faithful = 'configs/tune_to_brain.py', 'configs/tune_to_brain.py:faithful'
    alphas, seeds = ALPHAS, (0, 1, 2)
    if size == 'tiny':
        better, alphas, seeds = 'configs/tune_to_brain.py:tiny', (0.0, 1.0), (0,)
    recipes = (better, faithful) if size == 'full' else (better,)
    points: list[dict[str, object]] = [{'config': better, 'config.condition': control} for control in CONTROLS]
    points += [{'config': recipe, 'config.objective.distillation_weight': a} for recipe in recipes for a in alphas]
    return [{**point, 'config.seed': seed} for point in points for seed in seeds]
