"""A section is one file of `report/sections/`, and knows no model and no data set by name."""

import pathlib
import re
import sys

import pytest

import humalign_jax.report
from humalign_jax import storage
from humalign_jax.data import sources
from humalign_jax.models import MODELS
from humalign_jax.records import Score
from humalign_jax.report import sections

PACKAGE = pathlib.Path(humalign_jax.report.__file__).parent
TOY = """
from humalign_jax.report.columns import column_of, of_models, table_of
from humalign_jax.report.section import Section
from humalign_jax.report.sentences import passages_of, say


def section(study, options):
    of = of_models(study, 'toy/agreement')
    table = table_of(study, 'toy', 'How toys agree.', [column_of('Agreement', 'larger', of)])
    said = passages_of(('Toys', [say(f'{model} agrees: ', entry, '.') for model, entry in of.items()]))
    return None if table is None else Section(25, 'toys', 'Toy scores', (table,), said)
"""


@pytest.fixture
def toy_section(tmp_path, monkeypatch):
    """One more file in a folder where the page looks for sections."""
    (tmp_path / 'more').mkdir()
    (tmp_path / 'more' / 'toys.py').write_text(TOY)
    monkeypatch.setattr(sections, '__path__', [*sections.__path__, str(tmp_path / 'more')])
    yield
    del sys.modules[f'{sections.__name__}.toys'], sections.toys


def _page(folder, names, make_page):
    said = {'model': 'bear', 'better': 'larger'}
    scores = [Score(name, 0.5, 0.4, 0.6, 9, 'some', provenance=said) for name in names]
    storage.write_jsonl(folder / 'scores.jsonl', [score.to_json() for score in scores])
    make_page(folder)
    return (folder / 'report' / 'report.html').read_text(encoding='utf-8')


def test_one_more_file_is_one_more_section_with_its_table_and_sentences(toy_section, tmp_path, make_page):
    page = _page(tmp_path, ['toy/agreement', 'soft_labels/kl'], make_page)
    assert re.findall('<section id="([^"]*)"', page) == ['reading', 'toys', 'soft-labels', 'provenance', 'cite']
    assert '<li><a href="#toys">Toy scores</a></li>' in page
    assert '<table id="table-toy"' in page and (tmp_path / 'report' / 'tables' / 'toy.csv').exists()
    assert re.search('<h3>Toys</h3>.*<li>bear agrees: <a class="n" href="#s1"[^>]*>0.50 ', page, re.DOTALL)


def test_a_section_file_without_content_leaves_no_trace(toy_section, tmp_path, make_page):
    assert 'oys' not in _page(tmp_path, ['soft_labels/kl'], make_page)


def test_the_report_names_no_model_no_data_set_and_no_ten_classes():
    families = {re.sub(r'\d+$', '', name).replace('_', '[ _]') for name in (*MODELS, *sources.SOURCES)}
    words = re.compile(rf'(?<![a-z])({"|".join(families)}|ten(?![a-z])|(?<!\d)10[ -]class)', re.IGNORECASE)
    for path in (*PACKAGE.rglob('*.py'), *PACKAGE.rglob('*.j2')):
        text = path.read_text(encoding='utf-8').replace("'vae/'", '')  # how scores of latents are called on disk
        assert not words.findall(text), path
