"""What `make docs` adds to the pages in docs/: README pages of other folders, notebooks that ran, the API.

mkdocs calls `on_files` and `on_page_markdown` (`hooks` in mkdocs.yml). Links between files of the repository work in a
checkout and on the site: links that leave docs/ are followed, and their targets become part of the site.
"""

import ast
import importlib.util
import logging
import os
import pathlib
import posixpath
import re
import tempfile
import time

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parents[1]
LINK = re.compile(r'(?<=\]\()(?!\w+:|#)([^)#\s]+)')  # target of a link to a file
LOG = logging.getLogger('mkdocs.hooks.site_pages')
PACKAGES = {
    'records': 'Images, features, RDMs and scores, human answers and voxels: what packages exchange.',
    'rsa': '',
    'alignment': '',
    'human': '',
    'interpret': '',
    'data': '',
    'models': '',
    'losses': '',
    'objectives': '',
    'train': '',
    'experiments': '',
}
GROUND = ('records', 'human_data', 'human_responses', 'results', 'drawing', 'storage')


def on_files(files, config):
    """Adds generated pages."""
    outside = _outside(pathlib.Path(file.src_uri) for file in files.documentation_pages())
    for path in outside:
        uri = _uri(path)
        if path.suffix == '.md':
            files.append(File.generated(config, uri, content=_with_links((ROOT / path).read_text(), path)))
        else:
            files.append(File.generated(config, uri, content=(ROOT / path).read_bytes()))
    for uri, text in _api_pages().items():
        files.append(File.generated(config, uri, content=text))
    for uri, content in _notebook_pages().items():
        files.append(File.generated(config, uri, content=content))
    return files


def on_page_markdown(markdown, page, config, files):
    """Points the links of a page in docs/ to the pages of the site."""
    if page.file.generated_by:
        return markdown
    return _with_links(markdown, pathlib.Path('docs') / page.file.src_uri)


def _uri(path: pathlib.Path) -> str:
    """Where a file of the repository is on the site."""
    if path == pathlib.Path('README.md'):
        return 'index.md'
    if path.parent == pathlib.Path('docs/notebooks'):
        return f'notebooks/{path.stem}.md'
    return '/'.join(path.parts[1:]) if path.parts[0] == 'docs' else f'repository/{path.as_posix()}'


def _targets(path: pathlib.Path, text: str) -> list[pathlib.Path]:
    """Files of the repository that a page links to."""
    linked = [pathlib.Path(posixpath.normpath(path.parent / target)) for target in LINK.findall(text)]
    return [target for target in linked if (ROOT / target).is_file()]


def _outside(pages) -> list[pathlib.Path]:
    """Files outside docs/ that its pages, README.md and those files link to."""
    waiting, found = [pathlib.Path('README.md'), *(pathlib.Path('docs') / page for page in pages)], {}
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found[path] = None
        if path.suffix == '.md':
            waiting += _targets(path, (ROOT / path).read_text())
    return sorted(path for path in found if path.parts[0] != 'docs')


def _with_links(text: str, path: pathlib.Path) -> str:
    """The text of a page with links between places on the site instead of files in the repository."""
    here = posixpath.dirname(_uri(path))

    def moved(match: re.Match) -> str:
        target = pathlib.Path(posixpath.normpath(path.parent / match[1]))
        return posixpath.relpath(_uri(target), here or '.') if (ROOT / target).is_file() else match[1]

    return LINK.sub(moved, text)


def _api_pages() -> dict[str, str]:
    """A page for each package, made from docstrings."""
    pages = {}
    for package in PACKAGES:
        if package == 'records':
            modules, about = [f'humalign_jax.{name}' for name in GROUND], PACKAGES[package]
        elif package == 'rsa':
            modules, about = _public_names('humalign_jax/rsa/__init__.py'), _about('humalign_jax/rsa/__init__.py')
        else:
            folder = ROOT / 'humalign_jax' / package
            modules = [f'humalign_jax.{package}.{path.stem}' for path in sorted(folder.glob('[a-z]*.py'))]
            about = _about(f'humalign_jax/{package}/__init__.py')
        parts = [f'# {package}', about, *(f'::: {module}' for module in modules)]
        pages[f'api/{package}.md'] = '\n\n'.join(parts) + '\n'
    return pages


def _about(file: str) -> str:
    return ast.get_docstring(ast.parse((ROOT / file).read_text())) or ''


def _public_names(file: str) -> list[str]:
    """Where the functions and classes are defined that a package hands on, as `from a.b import c as c`."""
    found = []
    for node in ast.parse((ROOT / file).read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module != 'humalign_jax.records':  # a page of their own
            found += [f'{node.module}.{name.name}' for name in node.names]
    return found


def _notebook_pages() -> dict[str, str | bytes]:
    """The pages, figures and `.ipynb` files of all notebooks, each run in an empty folder."""
    spec = importlib.util.spec_from_file_location('run_notebooks', ROOT / 'docs' / 'run_notebooks.py')
    notebooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(notebooks)
    pages = {}
    for path in sorted((ROOT / 'docs' / 'notebooks').glob('*.py')):
        cells, started, before = notebooks.read(path.read_text()), time.perf_counter(), os.getcwd()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                notebooks.run(cells)
            finally:
                os.chdir(before)
        LOG.info('%s ran for %.1f s', path.name, time.perf_counter() - started)
        text, figures = notebooks.page(cells, path.stem)
        download = f'[This notebook as .ipynb]({path.stem}.ipynb)'
        pages[f'notebooks/{path.stem}.md'] = _with_links(f'{text}\n{download}\n', path.relative_to(ROOT))
        pages[f'notebooks/{path.stem}.ipynb'] = notebooks.ipynb(cells)
        pages |= {f'notebooks/{name}': content for name, content in figures.items()}
    return pages
