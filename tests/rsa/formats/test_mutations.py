"""A few hundred cases of benchmarks/mutations.py, which has tried ten thousand."""

import importlib.util
import pathlib

import pytest

_path = pathlib.Path(__file__).parents[3] / 'benchmarks' / 'mutations.py'
_spec = importlib.util.spec_from_file_location('mutations', _path)
mutations = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(mutations)


@pytest.mark.parametrize('kind', mutations.KINDS)
def test_a_damaged_file_gives_what_it_says_or_an_error_that_names_it(tmp_path, kind):
    for seed in range(20):
        mutation, outcome, what = mutations.case(kind, seed, tmp_path)
        assert outcome in ('refused', 'same', 'as it says'), f'{mutation} {seed}: {outcome}: {what}'


def test_wrong_numbers_and_ids_would_be_noticed(tmp_path, monkeypatch):
    name, write, _, plain = mutations.KINDS['features, table']
    read = {
        'made-up ids': lambda path: (plain(path)[0], None),
        'other numbers': lambda path: (plain(path)[0] + 1, plain(path)[1]),
    }
    for load in read.values():
        monkeypatch.setitem(mutations.KINDS, 'features, table', (name, write, load, plain))
        assert 'wrong' in {mutations.case('features, table', seed, tmp_path)[1] for seed in range(20)}
