"""The command `humalign`: RSA of the user's own files, configs by name, and mistakes in plain words."""

import csv
import json
import sys

import matplotlib
import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr

from humalign_jax import __version__, main, rsa, storage
from humalign_jax.cli import command, configs
from humalign_jax.records import Score

matplotlib.use('agg')
# Of ml_collections, where it reads a config file.
pytestmark = pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')
N, K = 10, 4


@pytest.fixture
def call(capsys, monkeypatch):
    """Carries out a command line; gives its status and what it printed."""
    monkeypatch.setattr(command.interrupts, 'end_at_once', lambda: None)
    for name in ('JAX_COMPILATION_CACHE_DIR', 'MPLBACKEND'):
        monkeypatch.setenv(name, 'agg' if name == 'MPLBACKEND' else str(main.os.environ[name]))

    def run(*arguments):
        status = 0
        try:
            command.main([str(argument) for argument in arguments])
        except SystemExit as leaving:
            status = leaving.code
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two layers of a network, and the RDMs of four people, one a file."""
    np_rng = np.random.default_rng(0)
    shared = np_rng.normal(size=(N, 7))
    layers = {f'conv{i}': shared + i * np_rng.normal(size=(N, 7)) for i in (1, 2)}
    np.savez(tmp_path / 'net.npz', **layers)
    (tmp_path / 'subjects').mkdir()
    for s in range(K):
        own = squareform(pdist(shared + np_rng.normal(size=shared.shape)))
        np.savetxt(tmp_path / 'subjects' / f's{s}.csv', own, delimiter=',')
    np.save(tmp_path / 'dead.npy', np.where(np.arange(N)[:, None] == 3, 0.0, layers['conv1']))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_features_and_a_quoted_pattern_give_a_table_with_scipys_scores(call, folder):
    status, out, err = call('rsa', 'net.npz', '--reference', 'subjects/*.csv', '--permutations', 20)
    assert status == 0, err
    lines = out.splitlines()
    assert f'{N} stimuli, {K} subjects' in lines[0] and len(lines) == 4
    people = [squareform(np.loadtxt(path, delimiter=',')) for path in sorted((folder / 'subjects').iterdir())]
    with np.load('net.npz') as layers:
        for line, name in zip(lines[2:], ('conv1', 'conv2')):
            model = pdist(layers[name], 'correlation')
            expected = np.mean([spearmanr(model, person).statistic for person in people])
            assert line.split()[:2] == [name, f'{expected:.3f}']
    assert 'row k of every file is taken for the same stimulus (no file has stimulus ids)' in err


def test_a_folder_gets_table_records_result_and_figures(call, folder):
    status, out, err = call(
        'rsa', 'net.npz:conv1', '--reference', 'subjects/*.csv', '--permutations', 20, '--out', 'out'
    )
    assert status == 0 and (folder / 'out').as_uri() in out, err
    expected = {'scores.csv', 'scores.jsonl', 'result.npz', 'scores.png', 'scores.pdf', 'rdms.png', 'rdms.pdf'}
    assert {path.name for path in (folder / 'out').iterdir()} == expected
    result = rsa.InferenceResult.load('out/result.npz')
    (row,) = csv.DictReader((folder / 'out' / 'scores.csv').read_text().splitlines())
    (score,) = map(Score.from_json, storage.read_jsonl('out/scores.jsonl'))
    assert float(row['score']) == score.value == result.values[0] and score.provenance['join'] == 'position'
    assert score.provenance['file'] == 'net.npz' and len(score.provenance['reference_sha256']) == K


def test_ids_join_files_in_different_orders(call, folder):
    ids = [f'im{i}' for i in range(N)]
    order = np.random.default_rng(1).permutation(N)
    with np.load('net.npz') as layers:
        np.save('a.npy', layers['conv1'])
        np.save('b.npy', squareform(pdist(layers['conv1'][order], 'correlation')))
    (folder / 'ids.txt').write_text('\n'.join(ids))
    (folder / 'other.txt').write_text('\n'.join(ids[i] for i in order))
    files = ['a.npy', '--reference', 'b.npy', '--permutations', 0]
    _, out, _ = call('rsa', *files, '--ids', 'ids.txt', '--reference-ids', 'other.txt')
    assert out.splitlines()[2].split()[:2] == ['a', '1.000'] and '1 subject;' in out
    _, out, _ = call('rsa', *files, '--over', 'none', '--join', 'position')
    assert float(out.splitlines()[2].split()[1]) < 0.9


def test_features_may_be_the_reference_and_rdms_the_models(call, folder):
    np.save('model.npy', squareform(np.arange(1.0, 46.0)))
    options = ['--reference-kind', 'features', '--reference-measure', 'euclidean', '--over', 'none']
    status, out, err = call('rsa', 'model.npy', '--reference', 'net.npz:conv1', *options)
    assert status == 0, err
    with np.load('net.npz') as layers:
        expected = spearmanr(np.arange(45), pdist(layers['conv1'])).statistic
    assert out.splitlines()[-1].split() == ['model', f'{expected:.3f}']


@pytest.mark.data
def test_of_the_92_images_the_scores_are_those_recorded(call, real_data):
    path = real_data / 'rsa92' / 'rdms.npz'
    status, out, err = call('rsa', f'{path}:models', '--reference', f'{path}:hit_mean_fig1', '--over', 'none')
    assert status == 0, err
    scores = {line.split()[0]: line.split()[1] for line in out.splitlines()[2:]}
    expected = dict(animacy='0.588', FaceBodyManmadeNatobj='0.405', monkeyIT='0.439', EVA='0.354', HMAX='0.222')
    assert scores == expected | dict(Silhouette='0.125', RADON='0.061', V1='0.039')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['rsa', 'net.npz', '--reference', 'subjcts/*.csv'], "no file is called 'subjcts/*.csv'"),
        (['rsa', 'ent.npz', '--reference', 'subjects/*.csv'], "Did you mean 'net.npz'?"),
        (['rsa', 'net.npz', '--reference', 'subjects/*.csv', '--index', 'spearmen'], 'spearman'),
        (['rsa', 'net.npz', '--reference', 'subjects/*.csv', '--measure', 'cosin'], 'cosine'),
        (['rsa', 'net.npz', '--reference', 'net.npz'], 'no array that can be RDMs'),
        (['rsa', 'net.npz', '--reference', 'subjects/*.csv', '--indx=a'], "what is '--indx=a'?"),
        (['rsa', 'dead.npy', '--reference', 'subjects/*.csv'], "'dead': 1 of 10 stimuli have no correlation distances"),
        (['run', 'vea:tiny'], "there is no config 'vea'. Did you mean 'vae'?"),
        (['show', 'vae:huge'], "no variant 'huge'"),
    ],
)
def test_a_mistake_is_one_message_and_status_2(call, folder, arguments, message):
    status, out, err = call(*arguments)
    assert (status, out) == (2, '') and message in err and 'error: ' in err and 'Traceback' not in err


def test_configs_are_listed_with_what_they_do(call):
    status, out, _ = call('list')
    lines = dict(line.split(maxsplit=1) for line in out.splitlines() if line)
    assert status == 0 and lines['vae'].startswith('VAE on CIFAR-10') and '__init__' not in lines


def test_a_config_is_shown_as_the_flags_that_set_it(call):
    status, out, _ = call('show', 'vae:tiny', '--config.seed=7')
    assert status == 0 and '--config.seed=7' in out.splitlines() and '--config.data.name=synthetic' in out.splitlines()
    flags = [line for line in out.splitlines() if line.startswith('--config.')]
    file = configs.file_of('vae:tiny')
    shown, read = main.read_config([f'--config={file}', *flags]), main.read_config([f'--config={file}'])
    read.seed = 7
    assert json.loads(shown.to_json()) == json.loads(read.to_json())


def test_run_hands_the_config_to_main(call, monkeypatch):
    given = []
    monkeypatch.setattr(sys, 'argv', ['humalign'])
    monkeypatch.setattr(main, 'start', lambda: given.append(sys.argv[1:]))
    assert call('run', 'vae:tiny', '--workdir=out', '--config.seed=7', '-v')[0] == 0
    ((config, *rest),) = given
    assert config.endswith('configs/vae.py:tiny') and rest == ['--config.seed=7', '--workdir=out', '--verbose']


def test_the_version_is_printed(call):
    assert call('--version') == (0, f'humalign_jax {__version__}\n', '')
