"""Writes layers of a network into .npy files that are either whole or absent."""

import errno
import hashlib
import io
import json
import os
import pathlib
import shutil
import time
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from humalign_jax import interrupts, storage
from humalign_jax.wiring import layer_folders

# The hash of the parameters identifies the network, wherever its run lies; files of earlier versions have no order.
NOT_COMPARED = ('run', layer_folders.ORDER)
_NOTE_SECONDS = 5.0  # between two notes of how many rows are on the disk
_CHUNK_BYTES = 8 << 20


class LayerWriter:
    """Files of layers, which are written a batch of rows at a time and go on after an interruption.

    Rows go to `unfinished/<layer>.npy`, by plain writes: dirty pages of a memory map would count as memory of this
    process until the system writes them back.

    Attributes:
        n_rows: Number of rows that are safely on the disk.

    Args:
        folder: Where the finished files go.
        sidecars: Sidecar of each layer, without shape and hash of its values.
        shapes: Shape [n, d] of each layer.
    """

    def __init__(
        self, folder: pathlib.Path, sidecars: Mapping[str, dict[str, Any]], shapes: Mapping[str, tuple[int, int]]
    ):
        self._folder, self._sidecars, self._shapes = folder, sidecars, shapes
        self._unfinished = folder / 'unfinished'
        self._note = self._unfinished / 'rows.json'
        made_of = [
            {key: provenance[key] for key in provenance if key not in NOT_COMPARED} for provenance in sidecars.values()
        ]
        self._key = hashlib.sha256(json.dumps([made_of, shapes], sort_keys=True).encode()).hexdigest()
        note = storage.read_json(self._note) if self._note.exists() else {}
        self.n_rows = int(note['rows']) if note.get('key') == self._key else 0
        if self.n_rows and not all(self._bytes_there(layer) >= self._offset(layer, self.n_rows) for layer in shapes):
            self.n_rows = 0
        if not self.n_rows:
            shutil.rmtree(self._unfinished, ignore_errors=True)
        self._unfinished.mkdir(parents=True, exist_ok=True)
        self._open: dict[str, BinaryIO] = {}
        self._noted_at = time.monotonic()

    def check_disk(self) -> None:
        """Raises ValueError if the layers will not fit on the disk."""
        wanted = {layer: self._offset(layer, shape[0]) for layer, shape in self._shapes.items()}
        needed = sum(max(0, size - self._bytes_there(layer)) for layer, size in wanted.items())
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            listed = ', '.join(f'{layer} {size / 1e9:.3f} GB' for layer, size in wanted.items())
            raise ValueError(
                f'{self._folder} needs {needed / 1e9:.3f} GB of disk, but {free / 1e9:.3f} GB are free ({listed}): '
                'make space, or extract fewer config.layers.'
            )

    def write(self, row: int, values: Mapping[str, np.ndarray]) -> None:
        """Writes the values of images `row` and on."""
        try:
            for layer in self._shapes:
                file = self._file(layer)
                file.seek(self._offset(layer, row))
                file.write(np.ascontiguousarray(values[layer], '<f4').data)
            if time.monotonic() - self._noted_at >= _NOTE_SECONDS:
                self._sync(row + len(next(iter(values.values()))))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self.check_disk()
            raise ValueError(f'{self._folder}: the disk is full; make space and start again to go on.') from error

    def finish(self) -> None:
        """Renames every layer into place, its sidecar first: an array is never there without its ids."""
        for layer, (n, d) in self._shapes.items():
            path = self._unfinished / f'{layer}.npy'
            described = {'shape': [n, d], 'dtype': 'float32', 'sha256': _digest(path, (n, d), len(self._header(layer)))}
            final = self._folder / f'{layer}.npy'
            storage.write_json(final.with_suffix('.json'), {**self._sidecars[layer], **described})
            os.replace(path, final)
            interrupts.note_kept()

    def close(self) -> None:
        """Brings everything to the disk."""
        for file in self._open.values():
            file.flush()
            os.fsync(file.fileno())
            file.close()
        self._open = {}

    def _sync(self, n_rows: int) -> None:
        for file in self._open.values():
            file.flush()
            os.fsync(file.fileno())
        storage.write_json(self._note, {'key': self._key, 'rows': n_rows})
        interrupts.note_kept()
        self._noted_at = time.monotonic()

    def _file(self, layer: str) -> BinaryIO:
        if layer not in self._open:
            path = self._unfinished / f'{layer}.npy'
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self._header(layer))
            self._open[layer] = open(path, 'r+b')  # noqa: SIM115  closed in close()
        return self._open[layer]

    def _bytes_there(self, layer: str) -> int:
        path = self._unfinished / f'{layer}.npy'
        return path.stat().st_size if path.exists() else 0

    def _offset(self, layer: str, row: int) -> int:
        return len(self._header(layer)) + row * self._shapes[layer][1] * 4

    def _header(self, layer: str) -> bytes:
        """What stands before the values in the file."""
        header = io.BytesIO()
        described = {'descr': '<f4', 'fortran_order': False, 'shape': self._shapes[layer]}
        np.lib.format.write_array_header_1_0(header, described)
        return header.getvalue()


def _digest(path: pathlib.Path, shape: tuple[int, int], n_header: int) -> str:
    """`storage.array_digest` of a file's values, a few megabytes at a time."""
    digest = hashlib.sha256(f'<f4{tuple(shape)}'.encode())
    with open(path, 'rb') as file:
        file.seek(n_header)
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
