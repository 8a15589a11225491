# %% [markdown]
# # Your own features
#
# Which layer of a network is most like people? Two files are needed: the network's features, one array `[n, d]` for
# each layer, and the RDMs of the subjects. Both are simulated here: put yours in their place.

# %%
import numpy as np

np_rng = np.random.default_rng(0)
ids = [f'image{i:02d}' for i in range(40)]
seen = np_rng.normal(size=(40, 6))  # what the simulated subjects see in each image


def layer(noise, d):
    return seen @ np_rng.normal(size=(6, d)) + noise * np_rng.normal(size=(40, d))


np.savez('net.npz', conv1=layer(8.0, 60), conv2=layer(4.0, 60), fc=layer(1.5, 30), ids=ids)
subjects = [seen + np_rng.normal(size=seen.shape) for _ in range(8)]

# %% [markdown]
# The subjects' RDMs as one array `[k, n, n]`; one file for each subject does as well. Everything joins by stimulus
# id.

# %%
from scipy.spatial.distance import pdist, squareform

np.save('subjects.npy', [squareform(pdist(answers)) for answers in subjects])

# %% [markdown]
# ## Scores, intervals and the noise ceiling
#
# `over='both'`: the intervals are for new stimuli and new subjects. A score below the noise ceiling leaves something
# in people's answers unexplained.

# %%
from humalign_jax import rsa

layers = rsa.load_models('net.npz')
people = rsa.load_subjects('subjects.npy', ids=ids)
result = rsa.infer([rsa.rdm(one) for one in layers], people, over='both', n_permutations=200)
print(result)

# %%
result.plot()

# %% [markdown]
# The same on the command line is `humalign rsa net.npz --reference subjects.npy --out figures`.
#
# ## Are two layers different?
#
# Differences between models have p values of their own, corrected for all pairs.

# %%
first, second = result.names.index('fc'), result.names.index('conv2')
print(f'fc - conv2: {result.differences[first, second]:.3f}, p = {result.p_differences_fwer[first, second]:.3g}')

# %% [markdown]
# ## The RDMs themselves

# %%
rsa.rdm(layers[-1]).plot()
people[0].plot()
