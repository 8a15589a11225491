"""What the end of a run says."""

from humalign_jax import storage, summary
from humalign_jax.records import Score


def _score(name, value, **provenance):
    return Score(name, value, value - 0.1, value + 0.1, 50, 'wilson', provenance=provenance).to_json()


def test_scores_are_told_apart_by_what_differs(tmp_path):
    rows = [_score('rsa', 0.25, model='net', layer=layer, seed=0) for layer in ('conv', 'fc')]
    storage.write_jsonl(tmp_path / 'scores.jsonl', rows)
    assert summary.of_run(tmp_path, 'rsa').splitlines() == [
        'score  layer  value  95 % interval   n',
        'rsa    conv    0.25  [0.15, 0.35]   50',
        'rsa    fc      0.25  [0.15, 0.35]   50',
        f'Next: humalign run report --config.study={tmp_path} --workdir={tmp_path}/report',
    ]


def test_of_many_scores_every_name_is_shown_and_baselines_are_not(tmp_path):
    rows = [_score('accuracy', 0.8), *(_score('rsa', 0.1, layer=str(i)) for i in range(20)), _score('loss', 0.5)]
    rows.insert(0, _score('rsa', 0.0, layer='pixels', baseline=True))
    storage.write_jsonl(tmp_path / 'scores.jsonl', rows)
    lines = summary.of_run(tmp_path, 'train_classifier').splitlines()
    assert [line.split()[0] for line in lines[1:9]] == ['accuracy', *6 * ['rsa'], 'loss']
    assert 'pixels' not in '\n'.join(lines) and lines[9] == f'15 more: {tmp_path}/scores.jsonl'
    assert lines[10].startswith(f'Next: humalign run extract --config.run={tmp_path} ')


def test_a_page_is_linked(tmp_path):
    (tmp_path / 'report').mkdir()
    (tmp_path / 'report' / 'report.html').write_text('<html>')
    assert summary.of_run(tmp_path, 'study') == f'Page: {(tmp_path / "report" / "report.html").as_uri()}'
    assert summary.of_run(tmp_path / 'report', 'report') == summary.of_run(tmp_path, 'study')


def test_a_study_shows_the_models_of_its_headline_table(tmp_path):
    tables = tmp_path / 'report' / 'tables'
    tables.mkdir(parents=True)
    (tables.parent / 'report.html').write_text('<html>')
    (tables / 'headline.csv').write_text(
        'kind,Model,Accuracy ↑,"Accuracy ↑, low","RSA, all pairs ↑","RSA, all pairs ↑, n"\n'
        'model,net,0.81234,0.7,0.41,20\nmodel,vae,,,0.2,20\nbaseline,pixels,,,0.05,20\n'
    )
    assert summary.of_run(tmp_path, 'study').splitlines()[:3] == [
        'Model  Accuracy ↑  RSA, all pairs ↑',
        'net        0.8123              0.41',
        'vae             -               0.2',
    ]


def test_a_run_without_scores_or_page_says_nothing(tmp_path):
    assert summary.of_run(tmp_path, 'extract') == ''
