"""One process at a time in a folder."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from humalign_jax import lock


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(lock, '_LOOK_SECONDS', 0.02)
    monkeypatch.setattr(lock, '_SETTLE_SECONDS', 0.0)


def _left_by(folder, *, age=0.0, **changes):
    """A lock that somebody left, touched `age` seconds ago."""
    path = folder / lock.NAME
    path.write_text(json.dumps({**lock._about_us(), **changes}))
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_the_lock_names_its_holder_and_goes_with_it(tmp_path):
    with lock.held(tmp_path / 'run'):
        about = json.loads((tmp_path / 'run' / lock.NAME).read_text())
        assert about['pid'] == os.getpid() and about['host']
    assert os.listdir(tmp_path / 'run') == []


def test_a_process_may_ask_again_for_what_it_holds(tmp_path):
    (tmp_path / 'link').symlink_to(tmp_path / 'run')
    with lock.held(tmp_path / 'run'):
        with lock.held(tmp_path / 'link'):
            pass
        assert (tmp_path / 'run' / lock.NAME).exists()


def test_a_living_process_of_this_machine_keeps_its_folder(tmp_path):
    path = _left_by(tmp_path, age=10_000)  # it may have been stopped for hours
    said = rf'process {os.getpid()} on .*kill {os.getpid()}.*--workdir'
    with pytest.raises(lock.InUseError, match=said), lock.held(tmp_path):
        pass
    assert path.exists()


def test_the_lock_of_a_process_that_is_gone_is_taken_over_at_once(tmp_path):
    gone = subprocess.Popen([sys.executable, '-c', ''])
    gone.wait()
    _left_by(tmp_path, pid=gone.pid, pid_started='1')
    with lock.held(tmp_path):
        assert json.loads((tmp_path / lock.NAME).read_text())['pid'] == os.getpid()


def test_another_process_with_the_same_number_is_not_the_holder(tmp_path):
    _left_by(tmp_path, pid_started='1')
    with lock.held(tmp_path):
        assert json.loads((tmp_path / lock.NAME).read_text())['pid_started'] != '1'


@pytest.mark.parametrize('changes', [{'host': 'node7'}, {'machine': 'a container'}])
def test_another_machines_lock_is_taken_over_once_it_is_stale(tmp_path, changes):
    _left_by(tmp_path, age=lock.STALE_SECONDS + 10, pid=1, **changes)
    with lock.held(tmp_path):
        pass


def test_another_machines_lock_that_is_touched_while_we_look_is_respected(tmp_path):
    path = _left_by(tmp_path, age=60, host='node7', pid=12)
    toucher = threading.Timer(0.2, os.utime, (path,))
    toucher.start()
    with pytest.raises(lock.InUseError, match='process 12 on node7'), lock.held(tmp_path):
        pass
    toucher.join()


def test_another_machines_lock_is_waited_for_until_it_is_stale(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, 'STALE_SECONDS', 61.0)
    _left_by(tmp_path, age=60.5, host='node7')
    started = time.monotonic()
    with lock.held(tmp_path):
        assert time.monotonic() - started > 0.3


def test_a_damaged_lock_is_waited_for_as_another_machines(tmp_path):
    path = tmp_path / lock.NAME
    path.write_text('{"host": ')
    os.utime(path, (time.time() - lock.STALE_SECONDS - 10,) * 2)
    with lock.held(tmp_path):
        pass


def test_the_lock_is_made_without_hard_links_too(tmp_path, monkeypatch):
    def link(*_):
        raise PermissionError(1, 'Operation not permitted')

    monkeypatch.setattr(os, 'link', link)
    with lock.held(tmp_path):
        assert lock._make(tmp_path / lock.NAME, lock._about_us()) is False
    assert os.listdir(tmp_path) == []


def test_the_holder_touches_its_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, 'HEARTBEAT_SECONDS', 0.02)
    with lock.held(tmp_path):
        path = tmp_path / lock.NAME
        os.utime(path, (1.0, 1.0))
        deadline = time.monotonic() + 10
        while path.stat().st_mtime == 1.0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert path.stat().st_mtime > 1.0


def test_of_many_that_start_at_once_one_gets_the_folder(tmp_path):
    got, barrier = [], threading.Barrier(8)

    def start():
        about = lock._about_us()
        barrier.wait()
        got.append(lock._make(tmp_path / lock.NAME, about))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False] * 7 + [True]
