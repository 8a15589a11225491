"""Log lines: plain on a terminal, with time and place in `log.txt`."""

import os
import pty
import re
import subprocess
import sys

CODE = """
import pathlib, sys
from absl import flags, logging
from humalign_jax import logs, memory
flags.FLAGS(['program'])
logging.use_absl_handler()
logs.set_up(verbose={verbose})
with logs.kept_in(pathlib.Path(sys.argv[1])):
    memory.check_memory(1e6, 'ten RDMs', '')
    logging.warning('beware')
    logging.info('of a library')
logging.warning('after the run')
"""


def _on_a_terminal(tmp_path, verbose):
    """What the lines look like on a pseudo-terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, '-c', CODE.format(verbose=verbose), str(tmp_path)]
    subprocess.run(command, stderr=theirs, check=True, timeout=60)
    os.close(theirs)
    text = b''
    while b'after the run' not in text:
        text += os.read(ours, 65536)
    os.close(ours)
    return text.decode().replace('\r\n', '\n').splitlines()


def test_a_terminal_shows_lines_without_time_and_place_and_log_txt_keeps_both(tmp_path):
    first, *rest = _on_a_terminal(tmp_path, verbose=False)
    assert first.startswith('ten RDMs need about 0.00 GB') and rest == ['warning: beware', 'warning: after the run']
    kept = (tmp_path / 'log.txt').read_text().splitlines()
    assert re.match(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO memory\.py:\d+ ten RDMs need', kept[0])
    assert [line.split(' ', 3)[2] for line in kept] == ['INFO', 'WARNING'] and 'beware' in kept[1]


def test_verbose_lines_say_time_and_place(tmp_path):
    first, *_ = _on_a_terminal(tmp_path, verbose=True)
    assert re.match(r'I\d{4} .* memory\.py:\d+\] ten RDMs need', first)


def test_a_folder_that_cannot_be_written_to_loses_only_its_log(tmp_path):
    done = subprocess.run(
        [sys.executable, '-c', CODE.format(verbose=False), str(tmp_path / 'none')], capture_output=True, text=True
    )
    assert done.returncode == 0 and 'beware' in done.stderr
