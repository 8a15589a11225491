"""Twenty pairs of handwritten eights, rated by two students, with the similarities that a small network gave them.

A worked example of a course, small enough to be kept here, of what 20 pairs and two raters cannot show: the network's
correlation with the mean rating is -0.171, with a 95 % interval from -0.66 to 0.41. Which images of the MNIST test set
were rated was not recorded, so that stimulus ids only count them.

References:
    Lake, Computational Cognitive Modeling (New York University), homework on neural networks, part D.
"""

import numpy as np

from humalign_jax.human_data import Ratings

# Cosine of the features after the first dense layer of a network with 98.71 % test accuracy.
SIMILARITY = np.array(
    [
        0.89012032, 0.85038942, 0.79451427, 0.91285908, 0.75113269, 0.85352826, 0.8943915, 0.91537622, 0.89762527,
        0.77289525, 0.75942052, 0.81272061, 0.80574378, 0.79841236, 0.95246642, 0.94559149, 0.87369754, 0.88077555,
        0.84055772, 0.86749835,
    ]
)  # fmt: skip
_RATINGS = (
    (5, 8, 8, 8, 5, 6, 9, 6, 6, 7, 5, 7, 10, 8, 4, 7, 7, 8, 9, 7),
    (5, 7, 8, 9, 4, 8, 9, 6, 6, 8, 7, 8, 10, 8, 2, 8, 6, 9, 8, 6),
)


def load_course_ratings() -> Ratings:
    """The ratings, 1 (least similar) to 10 (most similar), of pairs '1' to '20'."""
    numbers = range(1, len(SIMILARITY) + 1)
    return Ratings(
        pairs=np.array([str(number) for number in numbers]),
        ids_a=np.array([f'course/a/{number:02d}' for number in numbers]),
        ids_b=np.array([f'course/b/{number:02d}' for number in numbers]),
        categories=np.full(len(SIMILARITY), '8'),
        raters=np.array(['r1', 'r2']),
        values=np.array(_RATINGS),
        scale=(1.0, 10.0),
        name='course ratings',
        provenance={'source': 'Computational Cognitive Modeling (NYU), homework on neural networks, part D'},
    )
