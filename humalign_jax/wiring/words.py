"""Translates messages of the library for the command line: an argument's name is replaced by its flag."""

import contextlib
import re
from collections.abc import Iterator, Sequence

Table = Sequence[tuple[str, str]]

# Of everything that the experiment `rsa` calls; stimuli without distances and what does not join it finds beforehand.
RSA: Table = (
    (
        r', or np\.eye\((\d+)\) for',
        r' (config.features.noise_files, config.reference.noise_files), or a file with the identity matrix of \1 '
        'features for',
    ),
)
# Of files in a folder, where a file is a layer.
FOLDER: Table = (
    (r'choose an array with key=\.\.\.', 'keep one array [n, d] in each file of the folder'),
    (r',? ?(?:choose (?:one|others) with )?ids_key=\.\.\.[^:]*$', ' keep the right ones alone, named ids.'),
    (r'\bids_key=\S+', 'a column or array named ids'),
    (r'CsvFormat\([^)]*\)', 'another way to write the table, such as .npy'),
)


def of_files(section: str) -> Table:
    """Flags for what `rsa.files` takes, where files are named in `config.<section>`."""
    return (
        (r'choose an array with key=\.\.\.', f'name the array of each file, --config.{section}.arrays=\'("NAME",)\''),
        (r'(?<![\w.])ids_key=', f'--config.{section}.ids_key='),
        (r'CsvFormat\((\w+)=([^)]*)\)', rf'--config.{section}.csv.\1=\2'),
    )


@contextlib.contextmanager
def in_flags(table: Table) -> Iterator[None]:
    """Raises the ValueErrors of the block with messages translated by pairs of a regular expression and its text."""
    try:
        yield
    except ValueError as error:
        message = str(error)
        for pattern, flag in table:
            message = re.sub(pattern, flag, message)
        if message == str(error):
            raise
        raise ValueError(message) from error
