"""A made-up study and its page, built once."""

import importlib.util
import pathlib

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from humalign_jax.report import page
from humalign_jax.report.loading import load_study


def _load():
    spec = importlib.util.spec_from_file_location('fake_study', pathlib.Path(__file__).with_name('fake_study.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='session')
def fake_study():
    """The module that writes made-up studies."""
    return _load()


@pytest.fixture(scope='session')
def make_page():
    """`(folder of a study) -> Study`: writes its page into `<folder>/report`."""

    def make(folder, **options):
        options = {
            'date': '2026-01-31',
            'title': '',
            'n_images': 3,
            'recipe_epochs': {'philnet': 50.0},
            'claims': [],
            **options,
        }
        study = load_study(folder)
        page.write_page(study, folder / 'report', **options)
        return study

    return make


@pytest.fixture(scope='session')
def whole(tmp_path_factory, fake_study, make_page):
    """`(study, scores written, html, folder of the report)` of a study with every part, simulated."""
    folder = tmp_path_factory.mktemp('whole')
    written = fake_study.write_study(folder)
    study = make_page(folder)
    return study, written, (folder / 'report' / 'report.html').read_text(encoding='utf-8'), folder / 'report'


@pytest.fixture(scope='session')
def drawn_texts():
    """`figure -> (texts that are drawn, width and height in pixels, renderer)`."""
    draw = Text.draw

    def of(figure):
        canvas, seen = FigureCanvasAgg(figure), []

        def remember(text, renderer, *args, **kwargs):
            if text.get_visible() and text.get_text().strip():
                seen.append(text)
            return draw(text, renderer, *args, **kwargs)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Text, 'draw', remember)
            canvas.draw()
        return list(dict.fromkeys(seen)), canvas.get_width_height(), canvas.get_renderer()

    return of
