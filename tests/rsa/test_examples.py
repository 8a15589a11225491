"""The examples in the docstrings of `humalign_jax.rsa`."""

import doctest
import inspect

import numpy as np
import pytest

from humalign_jax import rsa

FUNCTIONS = {name: thing for name, thing in vars(rsa).items() if inspect.isfunction(thing)}


@pytest.mark.parametrize('name', FUNCTIONS)
def test_every_public_function_has_an_example_that_gives_what_it_says(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    (example,) = doctest.DocTestFinder(recurse=False).find(FUNCTIONS[name], name, globs={'np': np, 'rsa': rsa})
    said = []
    result = runner.run(example, out=said.append)
    assert result.attempted and not result.failed, ''.join(said)
