"""Models of an RDM: fixed ones, and ones whose free weights are fitted to other stimuli and subjects than they predict.

A model is a few component RDMs and a rule that picks weights for them. The rule sees only inner products, of the
components with each other and with the target, so that fitting costs the same for any number of stimuli.
"""

import abc
import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.optimize

from humalign_jax.records import Rdm


@dataclasses.dataclass(frozen=True)
class Model(abc.ABC):
    """Component RDMs and the rule that weights them; use one of its kinds below.

    Attributes:
        components: RDMs that the prediction is made of: records, or a condensed array [q, p].
        name: What a legend calls it.
    """

    components: Sequence[Rdm] | np.ndarray
    name: str

    flexible = True  # whether anything is fitted
    of_ranks = False  # whether components are compared with rank-transformed targets by their own ranks

    def __post_init__(self) -> None:
        if len(self.components) < (2 if self.flexible else 1):
            raise ValueError(
                f'model {self.name!r}, {type(self).__name__}, has {len(self.components)} component RDMs: '
                'give it at least two, or use Fixed.'
            )

    @abc.abstractmethod
    def weights(self, products: np.ndarray, target_products: np.ndarray) -> np.ndarray:
        """Weights of the components, [q], each at least 0.

        Args:
            products: Inner products of the components, centred where the index centres, [q, q].
            target_products: Inner products of the components with the target, [q].
        """


class Fixed(Model):
    """One RDM, nothing fitted."""

    flexible = False

    def weights(self, products: np.ndarray, target_products: np.ndarray) -> np.ndarray:
        """The single weight 1."""
        return np.ones(1)


class Selected(Model):
    """The one component that agrees best with the training data."""

    of_ranks = True

    def weights(self, products: np.ndarray, target_products: np.ndarray) -> np.ndarray:
        """1 for the component with the largest similarity, 0 for all others."""
        lengths = np.sqrt(np.maximum(np.diag(products), 0.0))
        similarity = np.where(lengths > 0, target_products / np.where(lengths > 0, lengths, 1.0), -np.inf)
        return np.eye(len(lengths))[np.argmax(similarity)]


class Weighted(Model):
    """A sum of the components with non-negative least-squares weights.

    References:
        Khaligh-Razavi & Kriegeskorte (2014). doi:10.1371/journal.pcbi.1003915
    """

    def weights(self, products: np.ndarray, target_products: np.ndarray) -> np.ndarray:
        """Non-negative weights of least squared error from the target."""
        return _non_negative(products, target_products)


class Interpolated(Model):
    """A mixture t a + (1 - t) b of two neighbours in an ordered list, such as the degrees of one parameter."""

    def weights(self, products: np.ndarray, target_products: np.ndarray) -> np.ndarray:
        """Weights of the best two neighbours, which sum to 1, and 0 for the others."""
        best, best_similarity = np.eye(len(products))[0], -np.inf
        for k in range(len(products) - 1):
            two = slice(k, k + 2)
            mixture = _non_negative(products[two, two], target_products[two])
            if mixture.sum() == 0:  # both point away from the target: the lesser evil
                mixture = np.eye(2)[np.argmax(target_products[two] / np.sqrt(np.diag(products)[two]))]
            length = np.sqrt(mixture @ products[two, two] @ mixture)
            similarity = mixture @ target_products[two] / length
            if similarity > best_similarity:
                best, best_similarity = np.zeros(len(products)), similarity
                best[two] = mixture / mixture.sum()
        return best


def _non_negative(products: np.ndarray, target_products: np.ndarray) -> np.ndarray:
    """argmin over x >= 0 of x' P x - 2 x' t."""
    # In a basis in which the products are the identity; what has (numerically) no length there is left out.
    eigenvalues, vectors = np.linalg.eigh(products)
    kept = eigenvalues > 1e-10 * eigenvalues[-1]
    roots = np.sqrt(eigenvalues[kept])[:, None] * vectors[:, kept].T  # R' R = P
    return scipy.optimize.nnls(roots, vectors[:, kept].T @ target_products / np.sqrt(eigenvalues[kept]))[0]
