# %% [markdown]
# # A study: is a network as uncertain as people, and alike in geometry?
#
# CIFAR-10H holds 511,000 answers to the 10,000 test images of CIFAR-10. A study takes the layers of a network as
# files, compares them with these answers, and writes a page. `features` is a folder with `penultimate.npy`,
# `logits.npy` and `labels.npy` in the published order, and `data` the folder with `cifar10h-counts.npy`. Without
# them, networks and observers are simulated: the same steps, and numbers about no real network. With
# 10,000 images and two layers the steps take about three minutes of CPU time.
#
# `humalign run quickstart:cifar10 --config.data.root=DIR` is the whole study with training of four networks; its
# results are [here](../results/README.md).

# %% tags=["parameters"]
features, data = '', ''

# %%
from humalign_jax import main
from humalign_jax.cli import configs

rows = ['--config.stimuli.dataset=cifar10', '--config.stimuli.split=test', f'--config.human.root={data}']


def read(name, *settings):
    """A config by name; the variant tiny needs no data."""
    file = configs.file_of(name if features else f'{name}:tiny')
    return main.read_config([f'--config={file}', *(settings if features else [])])


# %% [markdown]
# ## Probabilities and errors
#
# On the command line: `humalign run alignment --config.features=... --workdir=study/alignment/mynet`.

# %%
from humalign_jax.experiments import alignment

alignment.run(read('alignment', f'--config.features={features}', *rows), 'study/alignment/mynet')

# %% [markdown]
# ## Geometry
#
# Every layer against people's answers: over all pairs of images, within and between classes, and with the class
# partialled out. Compare with the baseline that knows nothing but the class.

# %%
from humalign_jax.experiments import human_rsa

human_rsa.run(read('human_rsa', f"--config.features=('{features}',)", *rows), 'study/human_rsa')

# %% [markdown]
# ## Scores
#
# Each step leaves `scores.jsonl`: value, 95 % interval, number of images, noise ceiling and provenance.

# %%
from humalign_jax import storage
from humalign_jax.records import Score

scores = [Score.from_json(row) for row in storage.read_jsonl('study/human_rsa/scores.jsonl')]
images = [one for one in scores if one.name == 'rsa/spearman' and one.provenance['level'] == 'image']
chosen = {
    (one.provenance['model'], one.provenance['pairs']): one
    for one in images
    if one.provenance['pairs'] in ('all', 'partial') and one.provenance['layer'] in ('penultimate', '')
}
for (model, pairs), one in chosen.items():
    print(f'{model:26} {pairs:8} {one.value:.3f} [{one.low:.3f}, {one.high:.3f}]  ceiling {one.ceiling_upper:.3f}')

# %%
import numpy as np

from humalign_jax import drawing

partial = {model: one for (model, pairs), one in chosen.items() if pairs == 'partial'}
values, low, high = np.array([(one.value, one.low, one.high) for one in partial.values()]).T
first = next(iter(partial.values()))
drawing.plot_intervals(
    list(partial), values, low, high, label='Spearman, category partialled out',
    ceiling=(first.ceiling_lower, first.ceiling_upper),
)  # fmt: skip

# %% [markdown]
# ## The page
#
# `humalign run report --config.study=study --workdir=study/report` writes `study/report/report.html`, one file that
# can be sent by mail. [How to read it](../howto/read_the_page.md).
