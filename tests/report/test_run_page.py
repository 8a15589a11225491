"""The page of one run that ends in scores, of any experiment."""

import json
import pathlib

import pytest

from humalign_jax.report import answer, figures, page
from humalign_jax.report.loading import load_study
from humalign_jax.report.section import Options

ROOT = pathlib.Path(__file__).parents[2]
RESULTS = ROOT / 'docs' / 'results'
KINDS = {  # folder of docs/results: how its answer begins
    'channels': 'deconv has ',
    'cifar10h': 'philnet has the highest Spearman correlation with people: 0.4659 ',
    'digit_ratings': 'digitnet has the highest correlation with mean ratings of 7: 0.54 ',
    'digitnet': 'digitnet has an accuracy of 0.9936 ',
    'geometry': 'GloVe has the highest class separation, coarse: 0.238 ',
    'things': 'minilm_word_gloss has the highest odd-one-out accuracy (THINGS triplets): 0.4919 ',
}


def test_a_run_writes_its_page_if_it_is_asked_to(command, tmp_path):
    config = ('--config=configs/rsa.py:tiny', f'--workdir={tmp_path / "run"}')
    small = ('--config.simulated.n_models=2', '--config.comparison.pairs=("all",)', '--config.inference.over=subjects')
    done = command(*config, *small, '--page')
    path = tmp_path / 'run' / 'report' / 'report.html'
    assert done.returncode == 0, done.stderr
    assert f'Page: {path.as_uri()}' in done.stdout
    assert 'class="answer"' in path.read_text(encoding='utf-8')
    scores = json.loads(path.with_name('scores.json').read_text(encoding='utf-8'))
    lines = (tmp_path / 'run' / 'scores.jsonl').read_text(encoding='utf-8').splitlines()
    assert sum(len(run['scores']) for run in scores['runs']) >= len(lines)


@pytest.mark.parametrize(('folder', 'beginning'), KINDS.items(), ids=KINDS.keys())
def test_scores_of_every_kind_have_an_answer(folder, beginning, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, 'save', lambda *_: None)
    monkeypatch.setattr(figures, 'picture_of', lambda figure, alt, title='': figures.Picture('', alt, title))
    study, options = load_study(RESULTS / folder), Options(0, {}, [], tmp_path)
    answered = answer.answer(study, options, page.find_sections(study, options))
    assert answered.sentences[0].text.startswith(beginning)
    assert len(answered.sentences) == 2 and len(answered.numbers) == 4


def test_the_page_of_the_results_holds_no_picture_of_data():
    text = (RESULTS / 'things' / 'page' / 'report.html').read_text(encoding='utf-8')
    assert '<svg' in text and '<img' not in text and 'data:image' not in text
