# %% [markdown]
# # A sweep: how many subjects does one need?
#
# A sweep is a file with a function that returns one dict of flags for each run. This one repeats an RSA of simulated
# models with more and more simulated subjects, and reads how wide the intervals are. It needs no data.

# %%
import pathlib

from humalign_jax.cli import configs

pathlib.Path('subjects.py').write_text(f"""
def get_sweep():
    return [{{'config': '{configs.file_of('rsa:tiny')}', 'config.simulated.n_subjects': k}} for k in (4, 16)]
""")

# %% [markdown]
# `humalign-sweep` runs the points, with `--jobs=4` four at a time; `--submit` queues them as a SLURM array instead
# ([how](../howto/cluster.md)). Complete points are skipped, so points can be added later. In a shell:
#
# ```bash
# humalign-sweep subjects.py --workdir=runs/subjects --config.inference.over=subjects
# ```

# %%
import subprocess
import sys

sweep = [sys.executable, '-m', 'humalign_jax.cli.sweep']
flags = ['--workdir=runs/subjects', '--config.inference.over=subjects']
subprocess.run([*sweep, 'subjects.py', *flags], check=True, capture_output=True)
listed = subprocess.run([*sweep, '--workdir=runs/subjects', '--list'], check=True, capture_output=True, text=True)
print(listed.stdout)

# %% [markdown]
# ## Scores of all points
#
# `--scores NAME` prints a table of one score over the points, and writes all scores to `scores.csv`. Each point is
# also an ordinary run with `scores.jsonl`.

# %%
from humalign_jax import storage
from humalign_jax.records import Score

found = {}
for k in (4, 16):
    rows = storage.read_jsonl(f'runs/subjects/rsa-tiny-n_subjects={k}/scores.jsonl')
    found[k] = next(Score.from_json(row) for row in rows if row['name'] == 'rsa/spearman')
    print(f'{k:2} subjects: {found[k].value:.3f} [{found[k].low:.3f}, {found[k].high:.3f}]')

# %%
import numpy as np

from humalign_jax import drawing

values, low, high = np.array([(one.value, one.low, one.high) for one in found.values()]).T
drawing.plot_intervals([f'{k} subjects' for k in found], values, low, high, label='Spearman, 95 % interval')
