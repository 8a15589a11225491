"""A headless Chromium driven over the DevTools protocol on a pipe: no driver, no port, no download."""

import json
import os
import shutil
import subprocess
import sys

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
# The browser reads its orders from file 3 and answers on file 4.
FDS_3_AND_4 = """
import os, sys
ends = [os.dup(int(end)) for end in sys.argv[1:3]]
for number, end in zip((3, 4), [os.dup2(end, 100 + i) for i, end in enumerate(ends)]):
    os.dup2(end, number)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """A headless Chromium with one page."""

    def __init__(self, profile):
        read_end, self.to_browser = os.pipe()
        self.from_browser, write_end = os.pipe()
        flags = ('--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--disable-dev-shm-usage')
        command = [CHROMIUM, *flags, '--remote-debugging-pipe', f'--user-data-dir={profile}', 'about:blank']
        self.process = subprocess.Popen(
            [sys.executable, '-c', FDS_3_AND_4, str(read_end), str(write_end), *command],
            pass_fds=(read_end, write_end),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_end)
        os.close(write_end)
        self.n_sent, self.rest, self.events, self.session = 0, b'', [], None

    def start(self):
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        self.session = self.call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        for domain in ('Page', 'Network', 'Runtime', 'Log'):
            self.call(f'{domain}.enable')

    def call(self, method, **params):
        self.n_sent += 1
        message = {'id': self.n_sent, 'method': method, 'params': params}
        message |= {'sessionId': self.session} if self.session else {}
        os.write(self.to_browser, json.dumps(message).encode() + b'\0')
        while True:
            answer = self.receive()
            if answer.get('id') == self.n_sent:
                assert 'error' not in answer, answer
                return answer['result']

    def receive(self):
        while b'\0' not in self.rest:
            read = os.read(self.from_browser, 1 << 20)
            assert read, 'the browser ended'
            self.rest += read
        first, self.rest = self.rest.split(b'\0', 1)
        message = json.loads(first)
        if 'method' in message:
            self.events.append(message)
        return message

    def open(self, url, width, height=900):
        self.events.clear()
        self.call(
            'Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call('Page.navigate', url=url)
        self._wait_for_load()

    def reload(self):
        """As a person would: the same process, which sees at once what the page kept."""
        self.events.clear()
        self.call('Page.reload')
        self._wait_for_load()

    def _wait_for_load(self):
        while not any(event['method'] == 'Page.loadEventFired' for event in self.events):
            self.receive()

    def value(self, expression):
        answer = self.call('Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True)
        assert 'exceptionDetails' not in answer, answer['exceptionDetails']
        return answer['result'].get('value')  # none of what is undefined

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.to_browser)
        os.close(self.from_browser)
