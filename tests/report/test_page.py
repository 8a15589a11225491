import collections
import csv
import html.parser
import io
import itertools
import json
import math
import re

import numpy as np
import pytest

from humalign_jax import storage
from humalign_jax.records import Score
from humalign_jax.report import figures, numbers, provenance, tables
from humalign_jax.report.loading import load_study

VOID = {'area', 'base', 'br', 'col', 'embed', 'hr', 'img', 'input', 'link', 'meta', 'source', 'track', 'wbr'}


class Outline(html.parser.HTMLParser):
    """Every element with its attributes and text; raises where a tag is closed that is not open."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.elements = [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names)), f'{tag} has an attribute twice: {names}'
        element = {'tag': tag, **dict(attributes), 'text': ''}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1]['tag'] == tag, f'</{tag}> closes {[e["tag"] for e in self.open]}'
        self.open.pop()

    def handle_data(self, text):
        for element in self.open:
            element['text'] += text

    def all(self, *tags):
        return [element for element in self.elements if element['tag'] in tags]


@pytest.fixture(scope='module')
def outline(whole):
    return Outline(whole[2])


@pytest.fixture
def quick_page(tmp_path, fake_study, make_page, monkeypatch):
    """Writes a study with some parts and returns its page, without the PDF and PNG files."""
    monkeypatch.setattr(figures, 'save', lambda *_: None)

    def make(**options):
        fake_study.write_study(tmp_path / 'study', **options)
        make_page(tmp_path / 'study')
        return (tmp_path / 'study' / 'report' / 'report.html').read_text(encoding='utf-8')

    return make


def test_every_score_has_a_row_with_its_value(whole, outline):
    study, written = whole[:2]
    assert sorted(e.score.name for e in study.entries) == sorted(score.name for score in written)
    kinds = {element['data-name'] for element in outline.all('tbody') if 'data-name' in element}
    rows = {element['id']: element['text'] for element in outline.all('tr') if 'id' in element}
    for entry in study.entries:
        text = rows[f's{entry.number}']
        assert entry.model in text and numbers.value_text(entry.score) in text and entry.score.name in kinds


def test_the_fields_of_a_score_stand_in_its_row_or_once_for_its_kind_its_model_or_its_run(whole, outline):
    study = whole[0]
    said = {}
    for source in provenance.sources(study)[1]:
        for kind in source.kinds:
            for row in kind.rows:
                assert not row.fields.keys() & (source.shared.keys() | kind.shared.keys())
                of_model = source.of_model.get(row.entry.model, {})
                said[row.entry.number] = {**of_model, **source.shared, **kind.shared, **row.fields}
    for entry in study.entries:
        assert said[entry.number]['n'] == str(entry.score.n)
        assert said[entry.number]['95 % interval'] == entry.score.interval
        assert said[entry.number].get('layer', '') == str(entry.get('layer') or '')
    assert whole[2].count('flax') == whole[2].count('jax 0.10.2') - 1 == 0  # versions once, and none that is missing


def test_the_embedded_data_are_the_scores_in_full_and_the_file_beside_the_page_is_the_same(whole, outline):
    study, folder = whole[0], whole[3]
    embedded = json.loads(next(e['text'] for e in outline.all('script') if e.get('id') == 'data'))
    assert embedded == json.loads((folder / 'scores.json').read_text(encoding='utf-8'))
    found = {}
    for run in embedded['runs']:
        for row in run['scores']:
            number, about = row.pop('number'), {**run['provenance'], **row['provenance']}
            found[number] = Score.from_json({**row, 'provenance': about})
    expected = {entry.number: entry.score for entry in study.entries}
    assert found.keys() == expected.keys()
    for number, score in expected.items():
        assert (found[number].name, dict(found[number].provenance)) == (
            score.name,
            json.loads(json.dumps(score.provenance)),
        )
        np.testing.assert_equal(found[number].value, score.value)


@pytest.mark.parametrize(
    ('classifiers', 'title'),
    [
        (('philnet',), 'How closely does philnet agree'),
        (('philnet', 'resnet50'), 'How closely do philnet and resnet50 agree'),
    ],
)
def test_the_title_asks_of_one_network_and_of_several(quick_page, classifiers, title):
    assert f'<title>{title}' in quick_page(parts=('alignment',), classifiers=classifiers)


def test_html_is_well_formed_and_its_links_lead_somewhere(whole, outline):
    ids = collections.Counter(element['id'] for element in outline.elements if 'id' in element)
    assert max(ids.values()) == 1
    links = [element['href'] for element in outline.all('a')]
    assert len(links) > 50
    for link in links:
        assert link[1:] in ids if link.startswith('#') else (whole[3] / link).is_file(), link


def test_nothing_is_fetched_from_anywhere(whole, outline):
    text = whole[2]
    assert {element['tag'] for element in outline.elements} & {'link', 'iframe', 'object', 'embed', 'base'} == set()
    sources = [element[key] for element in outline.elements for key in ('src', 'srcset', 'poster') if key in element]
    assert len(sources) > 5 and all(source.startswith('data:image/') for source in sources)
    style = ''.join(element['text'] for element in outline.all('style'))
    assert 'url(' not in style and '@import' not in style
    assert not re.search(r'https?:|//[a-z]', re.sub(r'data:[^"]+', '', text))
    assert "default-src 'none'" in text


def test_drawings_inside_the_page_have_text_and_fetch_nothing_either(whole, outline):
    drawings = re.findall(r'<svg .*?</svg>', whole[2], re.DOTALL)
    assert len(drawings) > 10
    for drawing in drawings:
        assert '<text' in drawing and '<script' not in drawing and '<style' not in drawing
        links = re.findall(r'(?:href="|url\()([^")]*)', drawing)
        assert all(link.startswith(('#', 'data:image/')) for link in links)
        local = {link[1:] for link in links if link.startswith('#')}
        assert local <= {element['id'] for element in outline.elements if 'id' in element}


def test_a_mark_of_a_drawing_says_its_value_under_the_pointer(whole):
    assert '<title>philnet: 0.540 [0.509, 0.571]</title>' in whole[2]


def test_every_image_says_what_it_shows(outline):
    for image in outline.all('img'):
        assert len(image['alt'].strip()) > 10, image['alt']
    titles = [element['text'] for element in outline.all('title')[1:]]
    assert all(len(title.strip()) > 5 for title in titles)
    said = ' '.join(titles)
    assert 'philnet 0.540' in said  # the bars' values
    assert 'the largest confusions are' in said


def test_headings_descend_one_level_at_a_time_and_the_contents_list_the_sections(outline):
    levels = [int(element['tag'][1]) for element in outline.all('h1', 'h2', 'h3', 'h4')]
    assert levels.count(1) == 1
    after = levels[levels.index(1) :]
    assert all(b <= a + 1 for a, b in itertools.pairwise(after))
    listed = [element['href'][1:] for element in outline.all('a') if not element.get('class')]
    sections = [element['id'] for element in outline.all('section')]
    assert [name for name in listed if name in sections] == sections
    assert len(sections) == 12


def test_every_table_has_a_caption_and_heads_with_a_scope(outline):
    assert len(outline.all('caption')) == len(outline.all('table')) > 10
    assert all(head.get('scope') in ('row', 'col', 'rowgroup') for head in outline.all('th'))
    assert all(caption['text'].strip() for caption in outline.all('caption'))


def test_simulated_observers_are_announced_before_everything_else(outline):
    headings = outline.all('h1', 'h2')
    assert headings[0]['text'] == 'SIMULATED OBSERVERS'
    assert 'simulated observers' in headings[1]['text']


def test_people_are_not_called_simulated(quick_page):
    page = quick_page(parts=('alignment',), simulated=False)
    parts = Outline(page).all('header', 'main')
    assert len(parts) == 2 and not any('imulated' in part['text'] or 'SIMULATED' in part['text'] for part in parts)


@pytest.mark.parametrize(
    ('part', 'expected'),
    [
        ('networks', {'headline', 'reading', 'training'}),
        ('alignment', {'headline', 'reading', 'confusions', 'soft-labels', 'images'}),
        ('human_rsa', {'headline', 'reading', 'rsa', 'rdms'}),
        ('latents', {'reading', 'latents'}),
        ('soft_labels', {'reading', 'training-on-people'}),
    ],
)
def test_a_section_without_content_is_absent(quick_page, part, expected):
    outline = Outline(quick_page(parts=(part,)))
    assert {element['id'] for element in outline.all('section')} == {*expected, 'provenance', 'cite'}
    assert 'has not run' not in outline.all('main')[0]['text']
    assert len([e for e in outline.all('tr') if e.get('id', '').startswith('s')]) > 3


def test_notes_of_the_headline_table_are_about_columns_that_it_has(quick_page):
    notes = ' '.join(e['text'] for e in Outline(quick_page(parts=('human_rsa',))).all('li'))
    assert 'RSA: Spearman correlation of dissimilarities, of the layer named below the model' in notes
    assert 'Accuracy' not in notes and 'second-best label' not in notes


def test_hostile_names_are_text(quick_page, tmp_path):
    hostile = ('<script>alert(1)', '"><img src=x onerror=alert(1)>', '$x_1% & {y} | \\z$')
    outline = Outline(quick_page(parts=('alignment', 'human_rsa'), classifiers=hostile))
    assert len(outline.all('script')) == 2  # our own
    assert all(element['src'].startswith('data:') for element in outline.all('img'))
    heads = [element['text'] for element in outline.all('th') if element.get('scope') == 'row']
    assert set(hostile) <= set(heads)
    latex = (tmp_path / 'study' / 'report' / 'tables' / 'headline.tex').read_text(encoding='utf-8')
    assert r'\$x\_1\% \& \{y\} \textbar{} \textbackslash{}z' in latex
    markdown = (tmp_path / 'study' / 'report' / 'tables' / 'headline.md').read_text(encoding='utf-8')
    assert r'\<script\>alert(1)' in markdown and r'\| \\z' in markdown


def test_undefined_scores_are_a_dash_with_the_reason(fake_study, make_page, tmp_path):
    fake_study.write_study(tmp_path, parts=('latents',))
    nan = float('nan')
    score = Score('errors/kappa', nan, nan, nan, 40, 'none: nobody made an error', provenance={'model': 'vae'})
    storage.append_jsonl(tmp_path / 'latents' / 'scores.jsonl', [score.to_json()])
    make_page(tmp_path)
    page = (tmp_path / 'report' / 'report.html').read_text(encoding='utf-8')
    assert 'vae, Error consistency, kappa: nobody made an error.' in page
    assert not re.search(r'>\s*nan\b|\bnan\s*<', page, re.IGNORECASE)


def test_csv_tables_hold_the_scores_in_full(whole):
    study, _, _, folder = whole
    rows = list(csv.DictReader(io.StringIO((folder / 'tables' / 'headline.csv').read_text(encoding='utf-8'))))
    row = next(row for row in rows if row['Model'].startswith('philnet'))
    column = next(name for name in row if name.startswith('Cross-entropy') and ',' not in name.split('↓')[1])
    score = study.find('soft_labels/cross_entropy', model='philnet', arm=None)[0].score
    assert [float(row[column]), float(row[f'{column}, low']), float(row[f'{column}, high'])] == [
        score.value,
        score.low,
        score.high,
    ]
    assert int(row[f'{column}, n']) == score.n


def test_markdown_and_latex_tables_have_the_same_cells(whole):
    folder = whole[3] / 'tables'
    for path in sorted(folder.glob('*.md')):
        markdown = [line for line in path.read_text(encoding='utf-8').splitlines() if line.startswith('|')]
        cells = [re.split(r'(?<!\\)\|', line.strip('|')) for line in (markdown[0], *markdown[2:])]
        plain = [[re.sub(r'\\(.)', r'\1', cell).strip().strip('*') for cell in row] for row in cells]
        latex = [line for line in path.with_suffix('.tex').read_text(encoding='utf-8').splitlines()]
        latex = [line.removesuffix(r' \\').split(' & ') for line in latex if line.endswith(r' \\')]
        assert [len(row) for row in plain] == [len(row) for row in latex] and len(plain) > 1
        for row, other in zip(plain, latex):
            for cell, tex in zip(row, other):
                words = re.sub(r'\\textbf\{(.*?)\}|\{\\footnotesize (.*)\}', r'\1\2', tex)
                assert words == tables.escape_latex(cell)


def test_figures_are_written_as_pdf_and_png(whole):
    stems = {path.stem for path in (whole[3] / 'figures').glob('*.pdf')}
    assert stems == {path.stem for path in (whole[3] / 'figures').glob('*.png')}
    assert {'rsa_all', 'rsa_partial', 'layers_all', 'rdms_class', 'confusion', 'errors', 'uncertainty'} <= stems


def test_the_same_study_gives_the_same_page(quick_page, tmp_path):
    first = quick_page(parts=('latents', 'soft_labels'))
    (tmp_path / 'study').rename(tmp_path / 'first')
    assert quick_page(parts=('latents', 'soft_labels')) == first


@pytest.mark.parametrize(
    ('value', 'low', 'high', 'expected'),
    [
        (0.51349, 0.5011, 0.5259, '0.513 [0.501, 0.526]'),  # half width 0.0124
        (0.51349, 0.4135, 0.6135, '0.51 [0.41, 0.61]'),  # half width 0.1
        (213.456, 201.0, 226.0, '213 [201, 226]'),  # half width 12.5
        (-0.02, -0.0312, 0.0001, '−0.020 [−0.031, 0.000]'),
        (2.302585, math.nan, math.nan, '2.30'),
        (0.0, 0.0, 0.0, '0.0 [0.0, 0.0]'),
        (3e-17, 1e-17, 5e-17, '0.0 [0.0, 0.0]'),
        (math.nan, math.nan, math.nan, '–'),
    ],
)
def test_numbers_end_at_the_second_significant_digit_of_half_their_interval(value, low, high, expected):
    score = Score('x', value, low, high, 10, 'some')
    assert f'{numbers.value_text(score)} {numbers.interval_text(score)}'.strip() == expected


def test_linked_runs_count_and_superseded_ones_do_not(tmp_path, fake_study):
    fake_study.write_study(tmp_path / 'elsewhere', parts=('networks',))
    study = tmp_path / 'study'
    (study / 'networks').mkdir(parents=True)
    (study / 'networks' / 'net').symlink_to(tmp_path / 'elsewhere' / 'networks' / 'philnet', target_is_directory=True)
    fake_study.write_study(study / 'superseded', parts=('latents',))
    (study / 'networks' / 'loop').symlink_to(study, target_is_directory=True)
    loaded = load_study(study)
    assert {entry.run for entry in loaded.entries} == {'networks/net'}
    assert loaded.models == ['net']


def test_a_folder_without_scores_is_one_clear_error(tmp_path):
    with pytest.raises(ValueError, match=r'holds no scores\.jsonl with scores'):
        load_study(tmp_path)
    with pytest.raises(ValueError, match='is no folder: give the --workdir of a study'):
        load_study(tmp_path / 'nowhere')


def test_a_damaged_array_is_named(tmp_path, fake_study, make_page):
    fake_study.write_study(tmp_path, parts=('alignment',))
    path = tmp_path / 'alignment' / 'philnet' / 'confusion.npy'
    path.write_bytes(b'not an array')
    with pytest.raises(ValueError, match=r'confusion\.npy is no array'):
        make_page(tmp_path)


def test_the_page_names_no_folder_of_the_machine(tmp_path, fake_study, make_page):
    fake_study.write_study(tmp_path, parts=('latents',))
    said = {'model': 'vae', 'run': str(tmp_path / 'networks' / 'vae'), 'data_root': '/home/somebody/data'}
    score = Score('vae/kl', 1.0, 0.9, 1.1, 40, 'some', provenance=said)
    storage.append_jsonl(tmp_path / 'latents' / 'scores.jsonl', [score.to_json()])
    make_page(tmp_path)
    page = (tmp_path / 'report' / 'report.html').read_text(encoding='utf-8')
    assert '<b>run</b> networks/vae' in page and '<b>data root</b> …/data' in page
    assert str(tmp_path) not in page and '/home' not in page


def test_baselines_are_no_networks(whole):
    study = whole[0]
    assert study.models == ['philnet', 'resnet50', 'vae']
    assert {'same category', 'pixels', 'class-mean human label', 'uniform'} <= set(study.baselines)


def test_scores_of_validation_images_never_stand_in_for_those_of_test_images(tmp_path):
    run = tmp_path / 'networks' / 'deconv'
    for folder, value in ((run, 0.6), (run / 'validation', 0.9)):
        score = Score('accuracy', value, 0.0, 1.0, 10, 'wilson', provenance={'model': 'deconv'})
        storage.write_jsonl(folder / 'scores.jsonl', [score.to_json()])
    assert [entry.score.value for entry in load_study(tmp_path).entries] == [0.6]


def test_a_page_without_people_and_without_a_reference_does_not_ask_about_agreement(tmp_path, make_page):
    score = Score('accuracy', 0.6, 0.5, 0.7, 100, 'wilson', provenance={'model': 'deconv', 'data': 'cifar10/test'})
    storage.write_jsonl(tmp_path / 'networks' / 'deconv' / 'scores.jsonl', [score.to_json()])
    make_page(tmp_path)
    text = (tmp_path / 'report' / 'report.html').read_text(encoding='utf-8')
    assert '<h1>Scores of deconv</h1>' in text and 'The main scores of each model.' in text
    assert 'agree' not in text.split('</style>')[1].split('<section id="reading"')[0]
