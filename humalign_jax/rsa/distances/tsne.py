"""Stimuli as points of a plane whose near neighbours are those of the feature space."""

import numpy as np

TSNE_MEASURES = ('euclidean', 'cosine', 'correlation')
EXACT = 1000  # stimuli up to which the gradient is exact


def tsne(
    features: np.ndarray, *, perplexity: float = 30.0, measure: str = 'euclidean', seed: int = 0
) -> tuple[np.ndarray, float]:
    """t-SNE in two dimensions by scikit-learn, which starts at the principal components.

    The gradient is exact for up to 1,000 stimuli, beyond it is approximated (Barnes-Hut).

    Args:
        features: Features, [n, d], finite.
        perplexity: Effective number of neighbours; reduced to (n - 1) / 3 where there are few stimuli.
        measure: Distance between stimuli, one of `TSNE_MEASURES`.
        seed: Seed.

    Returns:
        Coordinates without unit, float32 [n, 2], and the KL divergence that is left, in nats.

    Raises:
        ValueError: There are fewer than four stimuli, or the distance is unknown.

    References:
        van der Maaten & Hinton (2008). Visualizing data using t-SNE. JMLR 9.

    Example:
        >>> points, divergence = rsa.tsne(np.random.default_rng(0).normal(size=(20, 5)), perplexity=5.0)
        >>> points.shape
        (20, 2)
    """
    from sklearn.manifold import TSNE  # takes a second to import, and nothing else needs it

    n = len(features)
    if n < 4:
        raise ValueError(f't-SNE needs at least four stimuli, not {n}.')
    if measure not in TSNE_MEASURES:
        raise ValueError(f'measure={measure!r} must be one of {", ".join(TSNE_MEASURES)}.')
    model = TSNE(
        n_components=2,
        perplexity=min(perplexity, (n - 1) / 3),
        metric=measure,
        init='pca',
        method='exact' if n <= EXACT else 'barnes_hut',  # whose KL is wrong, even negative, where stimuli are equal
        random_state=seed,
    )
    return model.fit_transform(np.asarray(features)), float(model.kl_divergence_)
