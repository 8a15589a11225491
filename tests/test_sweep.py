"""Sweeps: points, folders, the SLURM array (with a stand-in for SLURM, and with SLURM where there is one), scores."""

import csv
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import time

import pytest

from humalign_jax import storage
from humalign_jax.records import Score

ROOT = pathlib.Path(__file__).parents[1]
# ml_collections reads config files in a way that Python 3.11 warns of.
pytestmark = pytest.mark.filterwarnings(r'ignore:the load_module\(\) method is deprecated:DeprecationWarning')
TINY = 'configs/sweeps/vae_latents.py:tiny'


@pytest.fixture
def sweep(monkeypatch):
    monkeypatch.chdir(ROOT)
    from humalign_jax.cli import sweep_points

    return sweep_points


def _call(*arguments, path='', **options):
    environment = {**os.environ, 'PATH': f'{path}:{os.environ["PATH"]}'}
    command = [sys.executable, 'launch/sweep.py', *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, **options)


def _flags(**values):
    return {'config': 'configs/vae.py:tiny', **{f'config.{key.replace("__", ".")}': v for key, v in values.items()}}


@pytest.mark.parametrize('path', sorted((ROOT / 'configs' / 'sweeps').glob('*.py')), ids=lambda path: path.stem)
@pytest.mark.parametrize('variant', ['', ':tiny'])
def test_every_sweep_has_points_that_can_be_read(sweep, path, variant):
    points = sweep.points_of(sweep.load_sweep(f'{path}{variant}'))
    assert len(points) > 3


def test_a_point_is_named_after_its_values_and_keeps_the_name_when_others_join(sweep):
    first = [_flags(seed=0, model__latent_dim=4), _flags(seed=1, model__latent_dim=4)]
    names = [point.name for point in sweep.points_of(first)]
    assert names == ['vae-tiny-seed=0-latent_dim=4', 'vae-tiny-seed=1-latent_dim=4']
    more = [_flags(seed=0, model__latent_dim=8), *first, _flags(model__widths=(8, 8, 8, 8))]
    assert [point.name for point in sweep.points_of(more)][1:3] == names
    assert sweep.points_of(more)[3].name == 'vae-tiny-widths=8_8_8_8'


def test_points_that_are_read_back_run_with_the_same_flags(sweep, tmp_path):
    points = sweep.points_of([_flags(model__widths=(8, 8, 8, 8)), _flags(data__root='/a b')], ['--config.seed=3'])
    sweep.write_points(tmp_path, points)
    back = sweep.read_points(tmp_path)
    assert [p.arguments for p in back] == [p.arguments for p in points]
    assert '--config.model.widths=(8, 8, 8, 8)' in back[0].arguments
    _begin(tmp_path / points[0].name)
    assert sweep.numbered(tmp_path, points) == points


def _begin(folder):
    folder.mkdir()
    (folder / 'metrics.jsonl').write_text('{}')


def test_a_begun_point_may_find_its_data_elsewhere_but_not_have_other_settings(sweep, tmp_path):
    before = sweep.points_of([_flags(seed=0)], ['--config.data.root=old', '--config.train.n_devices=1'])
    sweep.write_points(tmp_path, before)
    moved = sweep.points_of([_flags(seed=0)], ['--config.data.root=new', '--config.train.n_devices=2'])
    other = sweep.points_of([_flags(seed=0)], ['--config.train.epochs=3'])
    assert sweep.numbered(tmp_path, other) == other  # nothing is begun
    _begin(tmp_path / before[0].name)
    assert sweep.numbered(tmp_path, moved) == moved
    with pytest.raises(ValueError, match='was begun with'):
        sweep.numbered(tmp_path, other)


@pytest.mark.parametrize('text', ['{"points": [{"name": "a"}]}', '[]', '{"points": 3}', '{"poi'])
def test_a_damaged_list_of_points_is_named(tmp_path, text):
    (tmp_path / 'sweep.json').write_text(text)
    done = _call(f'--workdir={tmp_path}', '--list')
    assert done.returncode == 2 and 'sweep.json is no' in done.stderr and 'Traceback' not in done.stderr


def test_keys_that_end_alike_are_told_apart(sweep):
    (point,) = sweep.points_of([_flags(data__name='synthetic', model__name='vae')])
    assert point.name == 'vae-tiny-data.name=synthetic-model.name=vae'


@pytest.mark.parametrize(
    ('points', 'shared', 'message'),
    [
        ([_flags(seed=0), _flags(seed=0)], [], 'two points of the sweep are called vae-tiny-seed=0'),
        (
            [_flags(seed=0)],
            ['--config.seed=3'],
            'config.seed is set by the sweep, point by point: leave --config.seed=3',
        ),
        ([_flags(model__latent_dims=3)], [], r'point vae-tiny-latent_dims=3: .*latent_dims'),
        ([_flags(train__epochs='many')], [], r'point vae-tiny-epochs=many: .*many'),
        ([_flags(experiment='train_va')], [], "point vae-tiny-experiment=train_va: .*Did you mean 'train_vae'"),
        (
            [{'config': 'configs/va.py'}],
            [],
            "point va: there is no config file 'configs/va.py'. Did you mean 'configs/vae.py'",
        ),
        ([{'config': 'configs/vae.py:small'}], [], "no variant 'small'"),
    ],
)
def test_mistakes_are_found_before_anything_runs(sweep, points, shared, message):
    with pytest.raises(ValueError, match=message):
        sweep.points_of(points, shared)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('def get_sweep():\n    return []\n', 'must return a list of dicts'),
        ('def get_sweep():\n    return [{"config.seed": 1}]\n', "each with 'config'"),
        ('import nothing_of_this_name\n', 'cannot be read: ModuleNotFoundError'),
        ('x = 1\n', "cannot be read: AttributeError: .*'get_sweep'"),
    ],
)
def test_a_file_that_is_no_sweep_is_refused(sweep, tmp_path, text, message):
    (tmp_path / 'mine.py').write_text(text)
    with pytest.raises(ValueError, match=message):
        sweep.load_sweep(str(tmp_path / 'mine.py'))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['configs/sweeps/vae_latent.py'], "Did you mean 'configs/sweeps/vae_latents.py'"),
        (
            [TINY, '--epochs=3'],
            "what is '--epochs=3'? Settings of all points are written as --config.section.key=value",
        ),
        ([], 'is not the folder of a sweep'),
        ([TINY, '--run=4'], 'are numbered 0 to 3'),
        ([TINY, '--jobs=0'], '--jobs=0: at least 1 point runs at a time'),
        ([TINY, '--jobs=2', '--submit'], '--parallel limits the tasks of --submit'),
        ([TINY, '--scores'], 'no point of'),
    ],
)
def test_a_wrong_command_line_is_one_message(tmp_path, arguments, message):
    done = _call(*arguments, f'--workdir={tmp_path / "sweep"}')
    assert done.returncode == 2 and message in done.stderr and 'Traceback' not in done.stderr
    assert not (tmp_path / 'sweep').exists()


@pytest.mark.slow
def test_a_point_that_fails_is_named_and_does_not_stop_the_others(tmp_path):
    (tmp_path / 'mine.py').write_text(
        'def get_sweep():\n'
        "    tiny = {'config': 'configs/sae.py:tiny', 'config.train.epochs': 1.0}\n"
        "    return [{**tiny, 'config.optimizer.name': name} for name in ('adamm', 'adamw')]\n"
    )
    workdir = f'--workdir={tmp_path / "sweep"}'
    done = _call(tmp_path / 'mine.py', workdir, '--jobs=2')
    assert done.returncode == 2
    assert '1 of 2 points are complete' in done.stdout
    assert 'error: failed: sae-tiny-epochs=1.0-name=adamm; --list says why' in done.stderr
    said = (tmp_path / 'sweep' / 'sae-tiny-epochs=1.0-name=adamm' / 'output.txt').read_text()
    assert "error: config.optimizer.name='adamm'" in said
    lines = _call(workdir, '--list').stdout.splitlines()
    assert "name=adamm | failed: ValueError: config.optimizer.name='adamm'" in lines[2]
    assert lines[3].split('|')[3].strip() == 'complete'
    again = _call(tmp_path / 'mine.py', workdir)  # only the failed one is tried again
    assert again.stdout.count('Point ') == 1


@pytest.mark.slow
def test_a_sweep_that_is_stopped_saves_and_goes_on(tmp_path):
    (tmp_path / 'mine.py').write_text(
        "def get_sweep():\n    return [{'config': 'configs/sae.py:tiny', 'config.seed': seed} for seed in (0, 1, 2)]\n"
    )
    sweep, endless = [tmp_path / 'mine.py', f'--workdir={tmp_path}'], '--config.train.epochs=100000'
    run = subprocess.Popen([sys.executable, 'launch/sweep.py', *map(str, sweep), endless, '--jobs=2'], cwd=ROOT)
    both = [tmp_path / f'sae-tiny-seed={seed}' for seed in (0, 1)]
    deadline = time.time() + 300  # to import and compile on a busy machine
    while not all(map(_has_trained, both)) and run.poll() is None and time.time() < deadline:
        time.sleep(0.1)
    run.send_signal(signal.SIGTERM)
    assert run.wait(timeout=300) == 75
    for folder in both:
        assert list((folder / 'checkpoints').iterdir()) and not (folder / 'complete.json').exists()
    done = _call(f'--workdir={tmp_path}', '--list')
    assert [line.split('|')[3].strip() for line in done.stdout.splitlines()[2:]] == ['begun', 'begun', 'waiting']
    other = _call(*sweep, '--config.train.epochs=50')
    assert other.returncode == 2 and 'was begun with' in other.stderr and endless in other.stderr


def _has_trained(folder):
    rows = folder / 'metrics.jsonl'
    return rows.exists() and rows.stat().st_size > 0


@pytest.mark.slow
def test_ctrl_c_in_the_first_moment_of_a_point_stops_the_sweep_too(tmp_path):
    run = subprocess.Popen(
        [sys.executable, 'launch/sweep.py', TINY, f'--workdir={tmp_path}'], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert run.stdout is not None and 'Point 1 of 4' in run.stdout.readline()
    run.send_signal(signal.SIGINT)
    rest, _ = run.communicate(timeout=60)
    assert run.returncode == 75
    assert 'Stopped: 0 of 4 points are complete' in rest and 'Point 2' not in rest


@pytest.fixture
def slurm(tmp_path):
    """A stand-in for SLURM: notes what sbatch is told, answers that all tasks in `queue` wait."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    (tmp_path / 'queue').write_text('')
    for name, text in {
        'sbatch': f'echo "$@" >> {tmp_path}/told; echo "17;cluster"',
        'squeue': f'if [ -e {tmp_path}/forgotten ]; then echo "slurm_load_jobs error: Invalid job id specified" >&2; '
        f'exit 1; fi; cat {tmp_path}/queue',
    }.items():
        (folder / name).write_text(f'#!/usr/bin/env bash\n{text}\n')
        (folder / name).chmod(0o755)
    return tmp_path


@pytest.mark.skipif(not (ROOT / '.venv/bin/python').exists(), reason='no .venv')
def test_only_points_that_are_neither_complete_nor_queued_are_submitted(slurm):
    folder, path = slurm / 'sweep', slurm / 'bin'
    submit = [TINY, f'--workdir={folder}', '--submit', '--parallel=2', '--sbatch=--partition=gpu --time=1:00:00']
    done = _call(*submit, path=path)
    assert done.stdout == 'Job 17: 4 points; 0 are complete, 0 were in the queue already.\n', done.stderr
    log, options = f'--output={folder}/slurm-%A_%a.log', '--partition=gpu --time=1:00:00'
    expected = f'--parsable --array=0,1,2,3%2 {log} {options} launch/slurm_array.sbatch {folder}\n'
    assert (slurm / 'told').read_text() == expected
    (slurm / 'queue').write_text('2\n3\n')
    (folder / 'vae-tiny-latent_dim=4-seed=0').mkdir()
    storage.write_json(folder / 'vae-tiny-latent_dim=4-seed=0' / 'complete.json', {})
    done = _call(*submit, path=path)
    assert done.stdout == 'Job 17: 1 points; 1 are complete, 2 were in the queue already.\n'
    assert (slurm / 'told').read_text().splitlines()[1].split()[1] == '--array=1%2'
    (slurm / 'queue').write_text('1\n2\n3\n')
    assert 'Nothing to submit: 1 points are complete, 3 are in the queue.' in _call(*submit, path=path).stdout
    (slurm / 'forgotten').touch()  # jobs that ended some time ago
    assert 'Job 17: 3 points' in _call(*submit, path=path).stdout


@pytest.mark.skipif(not (ROOT / '.venv/bin/python').exists(), reason='no .venv')
def test_a_number_stays_a_points_own_when_the_sweep_changes(slurm):
    mine, folder = slurm / 'mine.py', slurm / 'sweep'
    for dims in ((4, 8), (2, 4)):
        mine.write_text(
            'def get_sweep():\n'
            f"    return [{{'config': 'configs/vae.py:tiny', 'config.model.latent_dim': d}} for d in {dims}]\n"
        )
        assert _call(mine, f'--workdir={folder}', '--submit', path=slurm / 'bin').returncode == 0
    arrays = [line.split()[1] for line in (slurm / 'told').read_text().splitlines()]
    assert arrays == ['--array=0,1', '--array=0,2']  # 8 is no longer in the sweep, but 1 is still its number


@pytest.mark.skipif(not (ROOT / '.venv/bin/python').exists(), reason='no .venv')
@pytest.mark.parametrize('how', ['--submit', '--jobs=2'])
def test_nothing_is_queued_or_started_where_data_is_missing(slurm, how):
    arguments = ['configs/sweeps/vae_latents.py', f'--workdir={slurm / "sweep"}', f'--config.data.root={slurm}']
    done = _call(*arguments, how, path=slurm / 'bin')
    assert done.returncode == 2 and 'Traceback' not in done.stderr
    assert done.stderr.startswith('error: point vae-latent_dim=16-seed=0: CIFAR-10 was not found. ')
    assert f'Looked in {slurm} for' in done.stderr
    assert '--config.data.root=DIR or HUMALIGN_DATA.\nNothing was started.' in done.stderr
    assert not (slurm / 'told').exists() and not (slurm / 'sweep').exists()
    if how == '--submit':  # data on disks of the nodes
        assert 'Job 17: 18 points' in _call(*arguments, how, '--skip-data-check', path=slurm / 'bin').stdout


def test_data_is_looked_for_where_the_jobs_will_look(slurm, monkeypatch):
    from humalign_jax.cli import sweep as module

    (slurm / 'launch').mkdir()
    (slurm / 'launch' / 'env.sh').write_text('module load cuda\nROOT=/project\nexport HUMALIGN_DATA=$ROOT/data\n')
    monkeypatch.chdir(slurm)
    variables = {'HUMALIGN_DATA': 'here', 'PATH': 'bin'}
    module._as_the_jobs(variables)
    assert variables == {'HUMALIGN_DATA': '/project/data', 'PATH': 'bin'}


def test_a_task_of_an_array_writes_to_the_folder_of_its_point(sweep, tmp_path):
    points = sweep.points_of([_flags(seed=0), _flags(seed=1)])
    sweep.write_points(tmp_path, points)
    for point in points:
        (tmp_path / point.name).mkdir()
        storage.write_json(tmp_path / point.name / 'complete.json', {})
    done = _call(f'--workdir={tmp_path}', '--run=1')
    output = tmp_path / 'vae-tiny-seed=1' / 'output.txt'
    assert done.returncode == 0 and done.stdout == f'Point vae-tiny-seed=1: the output is in {output}.\n'
    assert 'is complete: nothing to do' in output.read_text()
    assert not (tmp_path / 'vae-tiny-seed=0' / 'output.txt').exists()


def test_output_alone_does_not_begin_a_point(sweep, tmp_path):
    from humalign_jax.cli import sweep_jobs

    (point,) = sweep.points_of([_flags(seed=0)])
    with sweep_jobs.open_output(tmp_path / point.name) as output:
        output.write(b'error: ...')
    assert sweep.state(tmp_path / point.name) == 'waiting'


def test_without_slurm_submitting_says_so(tmp_path, sweep):
    if shutil.which('sbatch'):
        pytest.skip('this machine has SLURM')
    done = _call(TINY, f'--workdir={tmp_path}', '--submit')
    assert done.returncode == 2 and 'no SLURM here' in done.stderr


def _is_slurm_up():
    try:
        done = subprocess.run(['sinfo', '--noheader', '--format=%a'], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and 'up' in done.stdout


@pytest.mark.slow
@pytest.mark.slurm
def test_slurm_runs_every_point(tmp_path):
    if not _is_slurm_up():
        pytest.skip('no SLURM controller answers')
    few = '--gpus-per-node=0 --cpus-per-task=1 --mem=4G --output=/dev/null --chdir=.'
    done = _call(TINY, f'--workdir={tmp_path}', '--submit', f'--sbatch={few}')
    assert done.returncode == 0, done.stderr
    deadline = time.time() + 600
    while len(list(tmp_path.glob('*/complete.json'))) < 4 and time.time() < deadline:
        time.sleep(1)
    assert _call(f'--workdir={tmp_path}', '--list').stdout.count('complete') == 4


def _finished(folder, scores):
    folder.mkdir(parents=True)
    storage.write_jsonl(folder / 'scores.jsonl', [score.to_json() for score in scores])
    storage.write_json(folder / 'complete.json', {})


def _point(folder, l1, offset=0.0):
    """A complete point: one score of its own, and four of one name in a stage."""
    layers = [
        Score(
            'rsa', i + j / 4 + offset, 0.0, 1.0, 10, 'none', provenance={'layer': layer, 'pairs': pairs, 'n_pairs': j}
        )
        for i, layer in enumerate(('mu', 'out'))
        for j, pairs in enumerate(('all', 'within'))
    ]
    _finished(folder, [Score('l1', l1, l1 - 0.1, float('nan'), 100, 't')])
    storage.write_jsonl(folder / 'human_rsa' / 'scores.jsonl', [score.to_json() for score in layers])
    storage.write_jsonl(folder / 'superseded' / 'human_rsa-1' / 'scores.jsonl', [layers[0].to_json()])


def test_scores_are_averaged_over_seeds_and_none_is_lost(sweep, tmp_path):
    from humalign_jax.cli import sweep_scores

    flags = {
        f'vae-latent_dim={d}-seed={s}': {'config': 'vae', 'config.latent_dim': d, 'config.seed': s}
        for d in (4, 8)
        for s in range(3)
    }
    values = {point: 0.5 + 0.01 * i**2 for i, point in enumerate(flags)}
    points = list(flags)
    for number, point in enumerate(points[:4]):
        _point(tmp_path / point, values[point], 0.01 * number)
    text = sweep_scores.compare(tmp_path, flags, ['l1', 'rsa:layer=out,pairs=within'])
    of_4 = [values[point] for point in points[:3]]
    row = [cell.strip() for cell in text.splitlines()[2].split('|')]
    assert row[1] == 'vae-latent_dim=4'
    assert row[2] == f'{statistics.fmean(of_4):.3f} (sd {statistics.stdev(of_4):.3f}, 3 seeds)'
    assert row[3] == '1.260 (sd 0.010, 3 seeds)'
    assert text.splitlines()[3].split('|')[2].strip() == '0.590'  # one seed; its interval has only one end
    assert '2 of 6 points are not complete.' in text
    with open(tmp_path / 'scores.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 5
    assert list(rows[0])[:7] == ['point', 'config', 'config.latent_dim', 'config.seed', 'name', 'layer', 'pairs']
    of_first = [(r['name'], r['layer'], r['pairs'], r['value'], r['high']) for r in rows if r['point'] == points[0]]
    assert sorted(of_first) == [
        ('l1', '', '', '0.5', ''),
        ('rsa', 'mu', 'all', '0.0', '1.0'),
        ('rsa', 'mu', 'within', '0.25', '1.0'),
        ('rsa', 'out', 'all', '1.0', '1.0'),
        ('rsa', 'out', 'within', '1.25', '1.0'),
    ]


@pytest.mark.parametrize(
    ('column', 'message'),
    [
        ('l2', r"no score is called 'l2'\. Known: rsa, l1"),
        ('rsb', "Did you mean 'rsa'"),
        ('rsa:layer=xyz', r"no score 'rsa' has layer=xyz\. Known: mu, out"),
        ('rsa:layr=mu', "no score 'rsa' has layr=mu. Did you mean 'layer'"),
        (
            'rsa',
            r"4 scores 'rsa', which differ in layer \(mu, out\); pairs \(all, within\): say which, such as rsa:layer=",
        ),
        ('rsa:layer=mu', r'2 scores .* differ in pairs \(all, within\): say which, such as rsa:layer=mu,pairs=all'),
    ],
)
def test_a_column_must_mean_one_score(sweep, tmp_path, column, message):
    from humalign_jax.cli import sweep_scores

    _point(tmp_path / 'a', 0.5)
    with pytest.raises(ValueError, match=message):
        sweep_scores.compare(tmp_path, {'a': {'config': 'a'}}, [column])


def test_scores_that_nothing_tells_apart_are_no_column_but_are_kept(sweep, tmp_path):
    from humalign_jax.cli import sweep_scores

    _finished(tmp_path / 'a', [Score('l1', value, 0.0, 1.0, 10, 't') for value in (0.25, 0.5)])
    with pytest.raises(ValueError, match='nothing in their provenance distinguishes them'):
        sweep_scores.compare(tmp_path, {'a': {'config': 'a'}}, ['l1'])
    assert len((tmp_path / 'scores.csv').read_text().splitlines()) == 3


def test_many_names_that_begin_alike_are_one_in_the_list(sweep, tmp_path):
    from humalign_jax.cli import sweep_scores

    cells = [Score(f'confusion/a/{i}', 0.5, 0.0, 1.0, 10, 't') for i in range(100)]
    _finished(tmp_path / 'a', [Score('l1', 0.5, 0.0, 1.0, 10, 't'), *cells])
    assert 'All scores (l1, confusion/... (100))' in sweep_scores.compare(tmp_path, {'a': {'config': 'a'}}, [])
