# %% [markdown]
# # 92 images: models and human IT cortex
#
# Kriegeskorte et al. (2008) measured human IT with fMRI (four subjects, two sessions) while subjects saw 92 images of
# bodies, faces and objects. Which model has the geometry of IT? `data` is a folder with `rsa92/rdms.npz`, the RDMs of
# rsatoolbox's `demos/92imageData` in one file. Without it, RDMs of the same size are simulated, and the figures below
# show those.

# %% tags=["parameters"]
data = ''

# %%
import numpy as np

from humalign_jax import rsa

if data:
    with np.load(f'{data}/rsa92/rdms.npz') as file:
        category, sessions, subject_names = file['category'], file['hit'], file['hit_subject']
        models = dict(zip(file['model_name'], file['models']))
else:
    np_rng = np.random.default_rng(0)
    category = np.repeat(
        ['body', 'face', 'animal body', 'animal face', 'natural', 'artificial'], [12, 12, 12, 12, 23, 21]
    )
    animate = np.repeat([1.0, 0.0], [48, 44])
    kinds = (category[:, None] == np.unique(category)).astype(float)
    true = np.hstack([3.0 * animate[:, None], 2.0 * kinds, 0.7 * np_rng.normal(size=(92, 10))])
    measured = true + 1.0 * np_rng.normal(size=(4, 2, *true.shape))  # subject, session
    sessions = np.array([[rsa.rdm(one, 'euclidean') for one in subject] for subject in measured])
    subject_names = ['S1', 'S2', 'S3', 'S4']
    models = {
        'animacy': rsa.category_rdm(animate),
        'category': rsa.category_rdm(category),
        'noise': rsa.rdm(np_rng.normal(size=(92, 20))),
    }

# %% [markdown]
# Each subject's RDM is the mean of the sessions.

# %%
ids = [f'image{i:02d}' for i in range(92)]
people = [rsa.Rdm(rdm, ids, name, 'correlation') for rdm, name in zip(sessions.mean(axis=1), subject_names)]
candidates = [rsa.Rdm(values, ids, name, 'model') for name, values in models.items()]
people[0].plot()

# %% [markdown]
# ## Models against subjects
#
# With four subjects the intervals are wide: `over='both'` counts that other subjects would have been measured.
# Kendall's tau a or `rho_a` suit models with many ties, such as categories.

# %%
result = rsa.infer(candidates, people, index='rho_a', over='both', n_permutations=200)
print(result)

# %%
result.plot()

# %% [markdown]
# ## The mean RDM
#
# The usual published figure is the correlation with the mean over subjects, which has no interval over subjects.

# %%
mean = np.mean([one.values for one in people], axis=0)
with_mean = {name: float(rsa.spearman(values, mean)) for name, values in models.items()}
for name in sorted(with_mean, key=with_mean.get, reverse=True):
    print(f'{name:22} {with_mean[name]:.3f}')

# %% [markdown]
# ## A map of the images
#
# Classical multidimensional scaling of the mean RDM.

# %%
from matplotlib import pyplot

points = rsa.classical_mds(mean)
axes = pyplot.subplots(figsize=(5.0, 4.0), layout='constrained')[1]
for kind in np.unique(category):
    axes.plot(*points[category == kind].T, 'o', label=kind)
axes.set(xlabel='first dimension', ylabel='second dimension', aspect='equal')
axes.legend(fontsize='small')
