"""What every part of the GPU run is given, how it writes its rows, and how it takes times."""

import contextlib
import dataclasses
import functools
import importlib.util
import json
import pathlib
import time
import traceback
from collections.abc import Callable, Iterator

import jax
import ml_collections

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / 'configs'


@dataclasses.dataclass
class Setting:
    """A part's name, folders and size.

    Attributes:
        part: Name of the part.
        work: Folder of this run, where parts find each other's results.
        data: Folder with data, wheels and compiled programs.
        tiny: Whether sizes are tiny.
        limit_seconds: When the part is stopped, from its start.
        rows: What was measured so far.
    """

    part: str
    work: pathlib.Path
    data: pathlib.Path
    tiny: bool
    limit_seconds: float
    rows: list[dict] = dataclasses.field(default_factory=list)
    started: float = dataclasses.field(default_factory=time.monotonic)

    def row(self, what: str, result: str = '', beside: str = '', **numbers) -> dict:
        """Adds a row and writes all rows of the part."""
        shown = {key: value for key, value in (('result', result), ('beside', beside)) if value}
        self.rows.append({'what': what, **shown, **numbers})
        self.write()
        return self.rows[-1]

    def write(self) -> None:
        """Writes all rows, in one move."""
        new = self.work / f'.{self.part}.json'
        new.write_text(json.dumps(self.rows))
        new.replace(self.work / f'{self.part}.json')

    @contextlib.contextmanager
    def trying(self, what: str) -> Iterator[None]:
        """An error inside becomes a row, and the part goes on: one GPU run should say as much as it can."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            words = str(error).strip().splitlines() or ['']
            self.row(what, error=f'{type(error).__name__}: {words[0][:300]}', passed=False)

    def seconds_left(self) -> float:
        """Until this part is stopped."""
        return self.limit_seconds - (time.monotonic() - self.started)

    @functools.cached_property
    def rates(self) -> dict[str, float]:
        """Measured rates of plain products and of a copy, from the part 'environment'; {} if it did not run."""
        path = self.work / 'environment.json'
        rows = json.loads(path.read_text()) if path.exists() else []
        return {row['rate_of']: row['rate'] for row in rows if 'rate_of' in row}

    @property
    def cifar_root(self) -> str:
        """Folder with CIFAR-10 in a published form, '' if there is none."""
        from humalign_jax.data import cifar10

        return next((str(root) for root in (self.work / 'cifar', self.data) if cifar10.find(root)), '')


def get_config(file: str, variant: str) -> ml_collections.ConfigDict:
    """`configs/<file>.py:<variant>`.

    Raises:
        ValueError: There is no such variant.
    """
    spec = importlib.util.spec_from_file_location(f'config_{file}', CONFIGS / f'{file}.py')
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant)


def best_seconds(call: Callable[[], object], *, repeats: int, times: int = 1) -> float:
    """Seconds of one call, the best of some repeats of several calls in a row that are waited for once."""
    jax.block_until_ready(call())
    best = float('inf')
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(times):
            result = call()
        jax.block_until_ready(result)
        best = min(best, (time.perf_counter() - start) / times)
    return best
