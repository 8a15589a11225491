r"""The command `humalign fetch`: gets published data on a machine with internet, after its licence is acknowledged.

humalign fetch                                    # what there is, with sizes and licences
humalign fetch mnist cifar10h --root=DIR          # asks on a terminal whether the licences are accepted
humalign fetch mnist --accept-licence mnist       # in a script
"""

import pathlib
import sys
from collections.abc import Callable, Sequence

from humalign_jax import machine, progress, settings
from humalign_jax.data import fetch, files


def listed() -> str:
    """A line for each dataset that can be fetched, and for each that cannot, with the reason."""
    datasets, by_hand = fetch.read_table()
    width = max(map(len, [*datasets, *by_hand]))
    lines = []
    for name, dataset in datasets.items():
        size = machine.gigabytes(dataset.n_bytes) if dataset.n_bytes else 'size unknown'
        lines.append(f'{name:{width}}  {dataset.what}; {size}; licence: {dataset.licence}')
        lines += [f'{"":{width}}  sha256 unknown: {file.path}' for file in dataset.files if file.sha256 is None]
    lines += ['', 'Not fetched (third_party/NAME/README.md says how to get it):']
    lines += [f'{name:{width}}  {reason}' for name, reason in by_hand.items()]
    return '\n'.join([*lines, '', 'humalign fetch NAME... [--root DIR]; default folder: ' + str(files.data_root())])


def get(names: Sequence[str], *, root: str, accepted: Sequence[str], ask: Callable[[str], str] | None = None) -> None:
    """Gets datasets by name and prints what was done with each file.

    Args:
        names: Names of the table.
        root: Folder with datasets; '' for `$HUMALIGN_DATA`, else `~/.cache/humalign_jax`.
        accepted: Names of the datasets whose licences are acknowledged.
        ask: Asks a question; None where nobody can answer, default: on a terminal.

    Raises:
        ValueError: An unknown name, a licence that is not acknowledged, or a file that cannot be had; files that were
            got before stay.
    """
    datasets, by_hand = fetch.read_table()
    if ask is None and sys.stdin is not None and sys.stdin.isatty():
        ask = input
    for name in (*names, *accepted):
        if name in by_hand:
            raise ValueError(f'{name} is not fetched: {by_hand[name]} (third_party/{name}/README.md).')
        if name not in datasets:
            raise ValueError(f'there is nothing to fetch named {name!r}.{settings.nearest(name, datasets)}')
    folder = files.data_root(root)
    chosen = [datasets[name] for name in dict.fromkeys(names)]
    for dataset in chosen:
        _acknowledge(dataset, folder, dataset.name in accepted, ask)
    with progress.shown():
        for dataset in chosen:
            for file in dataset.files:
                print(f'{folder / file.path}: {fetch.fetch(dataset, file, folder)}', flush=True)


def _acknowledge(
    dataset: fetch.Dataset, folder: pathlib.Path, accepted: bool, ask: Callable[[str], str] | None
) -> None:
    """Shows the licence of what is not there yet, and goes on only if it is acknowledged."""
    if all((folder / file.path).exists() for file in dataset.files):
        return
    print(f'{dataset.name}: {dataset.what}\n  licence: {dataset.licence}\n  cite: {dataset.cite}', flush=True)
    for file in dataset.files:
        print(f'  from: {file.url}', flush=True)
    if accepted:
        return
    if ask is not None and ask('Do you accept the licence? [y/N] ').strip().lower() in ('y', 'yes'):
        return
    raise ValueError(
        f'the licence of {dataset.name} was not acknowledged: nothing was fetched. Add --accept-licence {dataset.name}.'
    )
