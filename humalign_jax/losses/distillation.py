"""Knowledge distillation: a student keeps the class probabilities of a teacher."""

import jax
import jax.numpy as jnp


def distillation_kl(logits: jax.Array, teacher_logits: jax.Array, temperature: float = 1.0) -> jax.Array:
    """KL divergence of the student from the teacher, KL(teacher || student), in nats times temperature squared.

    Both distributions are softmax(logits / temperature). The factor temperature squared keeps the size of gradients.
    Targets are log-probabilities, so that classes of probability 0 give finite values.

    Args:
        logits: Of the student, [b, k].
        teacher_logits: Of the teacher, [b, k].
        temperature: Above 0; larger values weigh the improbable classes more.

    Returns:
        At least 0 up to rounding, [b]. Equal to torch.nn.functional.kl_div(..., log_target=True) summed over classes.

    References:
        Hinton, Vinyals & Dean (2015). arXiv:1503.02531. Li & Hoiem (2016), Learning without Forgetting.
        arXiv:1606.09282
    """
    student, teacher = jax.nn.log_softmax(logits / temperature), jax.nn.log_softmax(teacher_logits / temperature)
    return temperature**2 * jnp.sum(jnp.exp(teacher) * (teacher - student), axis=-1)
