# %% [markdown]
# # A sweep: how many people does one need?
#
# A sweep is a file with a function that returns one dict of flags for each run. This one varies the number of simulated
# observers for each image, and asks how reliable their answers are. It needs no data.

# %%
import pathlib

pathlib.Path('observers.py').write_text('''
"""How many observers does one need?"""


def get_sweep():
    return [
        {'config': 'configs/human_rsa.py:tiny', 'config.human.n_observers': n, 'config.seed': seed}
        for n in (10, 40) for seed in (0,)
    ]
''')

# %% [markdown]
# On the command line it is
#
# ```bash
# humalign-sweep observers.py --workdir=runs/observers             # here, one run after the other
# humalign-sweep observers.py --workdir=runs/observers --submit    # as a SLURM array
# ```
#
# Complete runs are skipped, so points can be added later.
