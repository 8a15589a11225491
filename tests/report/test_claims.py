import pytest

from humalign_jax.report import claims


@pytest.mark.parametrize(
    'claim',
    ['ab', ('one', 'two'), ('one', 'is above'), ('one', 'keeps category structure', 'two'), ('one',), ()],
)
def test_what_is_no_claim_is_named_with_the_form_of_claims(claim):
    with pytest.raises(ValueError, match=r'config\.claims has .*, which is no claim\..*"is above", "that"\), \("this"'):
        claims.check([('one', 'is above', 'two'), ('one', 'keeps category structure'), claim])
