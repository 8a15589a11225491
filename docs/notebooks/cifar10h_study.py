# %% [markdown]
# # A study: from images to a page
#
# One config trains networks, extracts their layers, compares them with people's answers, and writes a page. Here `tiny` trains
# one small network for one epoch on rendered images, with simulated observers. The study with CIFAR-10 and the 511,000
# answers of CIFAR-10H is `study = 'quickstart:cifar10'` with `settings = ['--config.data.root=DIR']`, and takes days on a CPU
# or hours on a GPU; [its results](../results/README.md) are measured.

# %% tags=["parameters"]
study = 'quickstart:tiny'
settings = ['--config.include=("philnet",)', '--config.soft_labels.network=']

# %% [markdown]
# On the command line: `humalign run quickstart:tiny --workdir=runs/study`. In Python, a run is a function of a config and a
# folder.

# %%
from humalign_jax import main
from humalign_jax.cli import configs
from humalign_jax.experiments import study as experiment

config = main.read_config([f'--config={configs.file_of(study)}', *settings])
experiment.run(config, 'runs/study')

# %% [markdown]
# Run again, it continues at the first stage that is not complete. Each stage is a folder with `scores.jsonl`.

# %%
import pathlib

for path in sorted(pathlib.Path('runs/study').rglob('scores.jsonl')):
    print(path, len(path.read_text().splitlines()), 'scores')
print('The page:', next(pathlib.Path('runs/study').rglob('report.html')))
