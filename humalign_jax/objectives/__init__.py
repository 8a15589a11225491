"""What is optimised: pure functions `(params, model_state, batch, keys, step) -> (loss, (model_state, metrics))`."""

from humalign_jax.objectives.classify import make_classification_measure as make_classification_measure
from humalign_jax.objectives.classify import make_classification_objective as make_classification_objective
from humalign_jax.objectives.deconv import make_deconv_measure as make_deconv_measure
from humalign_jax.objectives.deconv import make_deconv_objective as make_deconv_objective
from humalign_jax.objectives.episodes import episode_sums as episode_sums
from humalign_jax.objectives.episodes import goodness_of_fit as goodness_of_fit
from humalign_jax.objectives.episodes import make_episode_measure as make_episode_measure
from humalign_jax.objectives.episodes import make_episode_objective as make_episode_objective
from humalign_jax.objectives.neural_tuning import make_neural_tuning_measure as make_neural_tuning_measure
from humalign_jax.objectives.neural_tuning import make_neural_tuning_objective as make_neural_tuning_objective
from humalign_jax.objectives.sae import make_sae_measure as make_sae_measure
from humalign_jax.objectives.sae import make_sae_objective as make_sae_objective
from humalign_jax.objectives.vae import make_vae_measure as make_vae_measure
from humalign_jax.objectives.vae import make_vae_objective as make_vae_objective
