"""The story of the README: python test/client.py [--frame] 9901 9902 9903 9904."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / 'gen-py'))
sys.path.insert(0, str(Path(__file__).parents[1]))  # a clone needs no installation

import thrift_client
from test_if import test_service


def one_server(port, frame):
    """Call a single server."""
    client = thrift_client.SimpleClient(
        test_service, host='localhost', port=port, frame=frame, timeout=60000
    )
    with client:
        print('ping:', client.ping())
        client.setk('key', 'value1')
        print('key:', client.getk('key'))
        print('keys:', client.keys())


def many_servers(ports, frame):
    """Spread keys over several servers, and ask all of them."""
    with thrift_client.ThreadedHashClient(test_service, frame=frame) as pool:
        for number, port in enumerate(ports, 1):
            pool.add_server(f'localhost:{port}', name=f'server-{number}')

        pool.setk.set_hash(lambda key, _: key)
        pool.getk.set_hash(lambda key: key)

        for word in ('apple', 'banana', 'cherry', 'date', 'elderberry', 'fig'):
            pool.setk(word, word.upper()).value()
            response = pool.getk(word)
            print(f'{word} is {response.value()} on {response.server.name}')

        print('ping:', pool.get_server(name='server-1').ping())

        for response in pool.all.keys():  # noqa: SIM118 - the service's method
            print(f'All the keys in {response.server.name}: {response.value()}')


def main():
    """Call the first server alone, then all of them as a pool."""
    parser = argparse.ArgumentParser()
    parser.add_argument('ports', type=int, nargs='+')
    parser.add_argument('--frame', action='store_true')
    options = parser.parse_args()

    one_server(options.ports[0], options.frame)
    many_servers(options.ports, options.frame)


if __name__ == '__main__':
    main()
