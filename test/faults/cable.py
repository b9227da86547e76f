"""Two hosts on a cable that is pulled, as namespaces of one network each; run by `unshare -n`."""

import subprocess
import sys
import time

from test_if import test_service
from thrift_client import SimpleClient, errors

HERE, THERE = '10.1.1.1', '10.1.1.2'


def run(command):
    """Run a command that has to succeed."""
    subprocess.run(command.split(), check=True)


def main():
    """Print what calls return or raise before, while and after the cable is out."""
    with subprocess.Popen(
        [
            *('unshare', '-n', sys.executable, '-m', 'thrift_client.testing', '--host=0.0.0.0'),
            *('--port=9090', '--service=test_if.test_service', '--handler=handlers:KeyValue'),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as far:
        far.stdout.readline()
        run('ip link add near type veth peer name far')
        run(f'ip link set far netns {far.pid}')
        run(f'ip addr add {HERE}/24 dev near')
        run('ip link set near up')
        run(f'nsenter -t {far.pid} -n ip addr add {THERE}/24 dev far')
        run(f'nsenter -t {far.pid} -n ip link set far up')
        with SimpleClient(test_service, THERE, 9090, timeout=5000) as client:
            call(client)
            run('ip link set near down')
            call(client.with_options(timeout=300))
            run('ip link set near up')
            call(client)
        far.stdin.close()


def call(client):
    """Print what a call brings, and whether that was in time."""
    began = time.monotonic()
    try:
        print(client.ping())
    except errors.ThriftClientError as exc:
        print(type(exc).__name__, time.monotonic() - began < 0.5)


if __name__ == '__main__':
    main()
