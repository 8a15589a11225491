"""The layers of docs/design.md, read from the imports themselves."""

import ast
import collections
import graphlib
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / 'humalign_jax'
GROUND = {
    *('arrays', 'records', 'storage', 'text', 'settings', 'ranges', 'workdir', 'lock', 'interrupts', 'mistakes'),
    *('allocator', 'devices', 'progress', 'memory', 'human_data', 'human_responses', 'pickles'),
    *('drawing', 'logs', 'processes', 'results', 'summary'),
}
# What each package may import from the others, beside the ground floor.
MAY = {
    'alignment': {'rsa'},
    'data': set(),
    'human': set(),
    'interpret': set(),
    'losses': set(),
    'models': set(),
    'objectives': {'losses'},
    'report': set(),
    'rsa': set(),
    'train': set(),
    'wiring': {'alignment', 'data', 'human', 'interpret', 'losses', 'models', 'objectives', 'report', 'rsa', 'train'},
}
# What each room of `rsa` may import from the others.
ROOMS = {
    'pairs': set(),
    'aligned': set(),
    'distances': {'pairs', 'aligned'},
    'ranks': {'aligned'},
    'similarity': {'pairs', 'distances', 'ranks'},
    'inference': {'pairs', 'distances', 'ranks', 'similarity'},
    'large': {'pairs', 'distances', 'ranks', 'similarity', 'inference'},
    'formats': set(),
    'files': {'pairs', 'formats'},
    'file_sets': {'files', 'pairs', 'formats'},
}
FILES = sorted(PACKAGE.rglob('*.py'))


def _imports(path):
    """Every imported module as a dotted name, those inside functions included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: relative import'
            yield node.module
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


def _ours(path):
    """Packages or files of ours that a file imports: 'rsa', 'records', ..."""
    names = {name.split('.')[1] for name in _imports(path) if name.startswith('humalign_jax.')}
    return {name for name in names if (PACKAGE / name).is_dir() or (PACKAGE / f'{name}.py').exists()}


@pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    place = path.relative_to(PACKAGE).parts[0].removesuffix('.py')
    found = _ours(path) - {place}
    if place in GROUND | {'__init__'}:
        assert found <= GROUND
    elif place in MAY:
        assert found <= GROUND | MAY[place], f'{path} may not import {found - GROUND - MAY[place]}'
    else:
        assert place in ('main', '__main__', 'cli', 'experiments'), f'{place} has no floor: see docs/design.md and here'
        assert place in ('__main__', 'cli') or not {'main', 'cli'} & found


def _module(path):
    """Dotted name of a file: 'humalign_jax.rsa.pairs'; of a package's `__init__.py` the package's."""
    return '.'.join(path.relative_to(PACKAGE.parent).with_suffix('').parts).removesuffix('.__init__')


def test_no_file_imports_itself_by_way_of_others():
    modules = {_module(path): path for path in FILES}
    graph = {}
    for module, path in modules.items():
        names = {name for name in _imports(path) if name in modules} - {module}
        # `from humalign_jax.rsa import pairs` needs the file, not what else the package shows.
        graph[module] = {name for name in names if not any(other.startswith(f'{name}.') for other in names)}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError with the circle


def test_experiments_do_not_use_each_other():
    """What two of them share lives in wiring."""
    for path in (PACKAGE / 'experiments').glob('*.py'):
        assert not [name for name in _imports(path) if name.startswith('humalign_jax.experiments.')], path


def test_training_names_no_entry_of_a_batch_of_images():
    words = {'image', 'label', 'soft_label', 'index', 'class_names'}
    for path in (PACKAGE / 'train').glob('*.py'):
        constants = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        assert not constants & words, path
        assert not {'data', 'human_data', 'records', 'models'} & _ours(path), path


@pytest.mark.parametrize('path', sorted((PACKAGE / 'rsa').rglob('*.py')), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_rooms_of_rsa_import_the_rooms_below(path):
    room = path.relative_to(PACKAGE / 'rsa').parts[0].removesuffix('.py')
    below = {name.removeprefix('humalign_jax.rsa.').split('.')[0] for name in _imports(path) if '.rsa.' in name}
    if room == '__init__':
        return  # the public names, from all rooms
    assert room in ROOMS, f'{room} has no floor: give it one here'
    assert below - {room} <= ROOMS[room], f'{path} may not import {below - {room} - ROOMS[room]}'


def test_other_packages_import_the_public_interface_of_rsa_only():
    public = {'humalign_jax.rsa', *(f'humalign_jax.rsa.{name}' for name in _names_bound(PACKAGE / 'rsa/__init__.py'))}
    below = {
        (str(path.relative_to(PACKAGE)), name)
        for path in FILES
        if path.relative_to(PACKAGE).parts[0] != 'rsa'
        for name in _imports(path)
        if name.startswith('humalign_jax.rsa') and name not in public
    }
    assert not below


def _names_bound(path):
    """Names that the imports of a file bind."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name for node in nodes for alias in node.names}


@pytest.mark.parametrize(
    ('module', 'allowed'),
    [
        ('tensorflow', {'data/tfds.py'}),
        ('tensorflow_datasets', {'data/tfds.py'}),
        ('matplotlib', {'report/', 'drawing.py'}),
        ('torch', set()),
        ('rsatoolbox', set()),
        ('pickle', set()),
    ],
)
def test_heavy_or_dangerous_modules_stay_in_their_place(module, allowed):
    users = {
        str(path.relative_to(PACKAGE)) for path in FILES if any(name.split('.')[0] == module for name in _imports(path))
    }
    assert all(any(user.startswith(place) for place in allowed) for user in users), users


def test_the_mapping_over_devices_is_written_in_one_file():
    users = {
        str(path.relative_to(PACKAGE))
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute | ast.Name)
        and (node.attr if isinstance(node, ast.Attribute) else node.id) in ('pmap', 'shard_map')
    }
    assert users <= {'devices.py'}


def test_configs_import_ml_collections_only():
    for path in (PACKAGE.parent / 'configs').rglob('*.py'):
        assert set(_imports(path)) <= {'ml_collections'}, path


def test_figures_need_no_backend_of_a_screen():
    """pyplot loads what MPLBACKEND names, which a notebook sets and which may not be installed.

    The `plot` methods of results, which users call, draw with it into what their notebook shows.
    """
    assert [path.name for path in FILES if any('pyplot' in name for name in _imports(path))] == ['drawing.py']


def test_no_two_public_classes_share_a_name():
    places = collections.defaultdict(list)
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith('_'):
                places[node.name].append(str(path.relative_to(PACKAGE)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
