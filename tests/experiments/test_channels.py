"""The channels of a decoder network: its scores by brute force, its pictures, its section on the page, messages."""

import pathlib
import types

import jax
import numpy as np
import pytest

from humalign_jax import storage
from humalign_jax.experiments import channels, report
from humalign_jax.interpret.channels import MODES
from humalign_jax.models import Deconv
from humalign_jax.records import Score
from humalign_jax.report.plots import channels as figures
from humalign_jax.wiring import images, runs

from ..conftest import load_config

PLACE = pathlib.Path('runs/deconv')


def _opened(**model):
    """A run of random weights, which is as good as a trained one here."""
    config = load_config('deconv', 'tiny')
    config.data.update(n_train=96, n_test=30, n_validation=16)
    config.model.update(model)
    setup = images.read(config)
    image = np.zeros((1, *setup.images['test'].images.shape[1:]), np.float32)
    params = jax.jit(setup.model.init)(jax.random.key(0), image)['params']
    state = types.SimpleNamespace(step=7, params=params, model_state={})
    return runs.OpenRun(PLACE, config, types.SimpleNamespace(setup=setup), state)


def _config(**changes):
    config = load_config('channels', 'tiny')
    config.update(run=str(PLACE), batch_size=8, pictures={'ids': ('synthetic/test/00003',)}, **changes)
    return config


@pytest.fixture
def load_page():
    """`(study, folder) -> HTML` of the page that `report` makes."""

    def load(study, folder):
        config = load_config('report', 'tiny')
        config.study = str(study)
        report.run(config, str(folder))
        return (folder / 'report.html').read_text(encoding='utf-8')

    return load


@pytest.fixture(scope='module')
def opened():
    return _opened()


@pytest.fixture(scope='module')
def done(opened, tmp_path_factory):
    """`(folder, titles and images of the figures)` of the channels of that run."""
    folder, drawn = tmp_path_factory.mktemp('channels'), []

    def draw(originals, *arguments, title, **options):
        drawn.append((title, originals[0]))
        return figure(originals, *arguments, title=title, **options)

    figure = figures.draw_channels
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, 'open_run', lambda *arguments: opened)
        patch.setattr(figures, 'draw_channels', draw)
        channels.run(_config(), str(folder))
    return folder, drawn


@pytest.fixture(scope='module')
def outputs(opened):
    """`keep -> (reconstructions, whether each class is right)` of the test images."""
    test, setup = opened.setup.images['test'], opened.setup
    x = setup.prepare_plain(test.images, None)
    apply = jax.jit(lambda keep: setup.model.apply({'params': opened.state.params}, x, train=False, keep=keep))

    def of(keep):
        logits, recon = jax.device_get(apply(keep))
        return recon, logits.argmax(axis=1) == test.labels, np.asarray(x)

    return of


def _scores(folder, name, **said):
    rows = [Score.from_json(row) for row in storage.read_jsonl(folder / 'scores.jsonl')]
    return [s for s in rows if s.name == name and all(s.provenance.get(k) == v for k, v in said.items())]


def test_all_channels_kept_are_the_plain_forward_pass(done, outputs):
    folder, _ = done
    recon, right, x = outputs(None)
    (mse,), (accuracy,) = (_scores(folder, f'channels/{name}', mode='all') for name in ('mse', 'accuracy'))
    assert mse.value == pytest.approx(np.mean((recon - x) ** 2), rel=1e-5) and mse.n == 30
    assert accuracy.value == right.mean()


@pytest.mark.parametrize(
    ('layer', 'channel', 'mode'), [('z1', 0, 'drop_one'), ('z1', 5, 'keep_only'), ('z2', 7, 'drop_one')]
)
def test_a_channels_scores_are_those_of_a_forward_pass_of_its_own(done, outputs, layer, channel, mode):
    folder, _ = done
    keep = [np.ones(6, np.float32), np.ones(16, np.float32)]
    factors = keep[channels.LAYERS.index(layer)]
    factors[:] = 1.0 - factors if mode == 'keep_only' else factors
    factors[channel] = 1.0 - factors[channel]
    recon, right, x = outputs(tuple(keep))
    whole, all_right, _ = outputs(None)
    said = {'layer': layer, 'channel': channel, 'mode': mode}
    (mse,), (to_full,), (accuracy,) = (
        _scores(folder, f'channels/{name}', **said) for name in ('mse', 'mse_to_full', 'accuracy')
    )
    errors = np.mean((recon - x) ** 2, axis=(1, 2, 3))
    assert mse.value == pytest.approx(errors.mean(), rel=1e-5)
    assert to_full.value == pytest.approx(np.mean((recon - whole) ** 2), rel=1e-4)
    assert accuracy.value == right.mean()
    if mode == 'drop_one':
        (lost,), (rise,) = (_scores(folder, f'channels/{name}', **said) for name in ('accuracy_lost', 'mse_rise'))
        assert lost.value == pytest.approx(all_right.mean() - right.mean()) and lost.low < lost.value < lost.high
        assert rise.value == pytest.approx(errors.mean() - np.mean((whole - x) ** 2), abs=1e-6)


def test_every_channel_of_both_layers_has_scores_in_both_modes(done):
    for layer, n_channels in (('z1', 6), ('z2', 16)):
        for mode in MODES:
            found = [score.provenance['channel'] for score in _scores(done[0], 'channels/psnr', layer=layer, mode=mode)]
            assert found == list(range(n_channels))


def test_one_device_and_four_leave_the_same_values(done, opened, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, 'open_run', lambda *arguments: opened)
    config = _config(n_devices=1)
    config.pictures.ids = ()
    channels.run(config, str(tmp_path))
    for name in ('all_channels', 'z1', 'z2'):
        alone, four = (np.load(folder / 'deconv' / f'{name}.npy') for folder in (tmp_path, done[0]))
        np.testing.assert_allclose(alone, four, rtol=1e-5, atol=1e-6)


def test_a_title_has_the_label_of_the_image_that_is_shown(done, opened):
    folder, drawn = done
    test = opened.setup.images['test']
    (row,) = np.flatnonzero(test.ids == 'synthetic/test/00003')
    label = test.class_names[test.labels[row]]
    assert label != test.class_names[test.labels[0]]  # the label of another image would be noticed
    assert len(drawn) == 2 * 2 * 2
    for title, image in drawn:
        assert f'synthetic/test/00003, {label} (simulated)' in title
        np.testing.assert_array_equal(np.rint(255 * image), test.images[row])
    said = storage.read_json(folder / 'deconv/figures/synthetic_test_00003_z2_keep_only_minmax.json')
    assert said['label'] == label and len(said['mse']) == 16 and 'from its minimum to its maximum' in said['caption']
    assert {path.suffix for path in (folder / 'deconv/figures').glob('bars_z1.*')} == {'.pdf', '.png'}


def test_the_page_of_a_folder_with_channels_has_a_section_about_them(done, tmp_path, load_page):
    page = load_page(done[0], tmp_path)
    assert '<section id="channels"' in page and 'unpools with switches' in page
    assert page.count('reconstructed by deconv from channels of z') == 2
    assert 'accuracy lost without a channel is largest for #' in page and '<table id="table-channels_deconv"' in page


def test_a_page_without_channels_has_no_such_section(tmp_path, load_page):
    score = Score('accuracy', 0.5, 0.4, 0.6, 9, 'wilson', provenance={'model': 'bear'})
    storage.write_jsonl(tmp_path / 'study' / 'scores.jsonl', [score.to_json()])
    assert 'hannel' not in load_page(tmp_path / 'study', tmp_path / 'page')


def test_mistakes_are_named(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, 'open_run', lambda *arguments: opened)
    with pytest.raises(ValueError, match=r"config\.names=\('a', 'b'\) must name each of the 1 runs"):
        channels.run(_config(names=('a', 'b')), str(tmp_path))
    with pytest.raises(ValueError, match=r"names=\('a/b',\) must be different and fit for names of folders"):
        channels.run(_config(names=('a/b',)), str(tmp_path))
    with pytest.raises(ValueError, match=r"ids has 'a/test/1', which .*ids are such as synthetic/train/"):
        channels._find(opened, 'a/test/1')
    setup = types.SimpleNamespace(model=Deconv(decoder=False))
    network = channels._network(types.SimpleNamespace(folder=PLACE, setup=setup))
    keys, image = jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    with pytest.raises(ValueError, match='was trained without a decoder'):
        jax.eval_shape(lambda x: network(setup.model.init(keys, x), x, (np.ones(6), np.ones(16))), image)
    with pytest.raises(ValueError, match="'vae', whose channels cannot be dropped"):
        vae = types.SimpleNamespace(
            folder=PLACE, setup=types.SimpleNamespace(model=[]), config=load_config('vae', 'tiny')
        )
        channels._network(vae)
