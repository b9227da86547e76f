"""Send four thousand keys through a pool and print which server got each, as JSON.

python test/client/place_keys.py host:port …
"""

import json
import sys

from rich_if import rich_service
from thrift_client import HashClient

KEYS = [
    key
    for number in range(1000)
    for key in (f'key-{number}', f'key-{number}'.encode(), number * 7919 - 9999, (number, 'ä'))
]


def main():
    """Call each key's server with the key's number, so that a key may be of any type."""
    placed = []
    with HashClient(rich_service, servers=sys.argv[1:]) as pool:
        pool.add.set_hash(lambda a, b: KEYS[a])
        for number in range(len(KEYS)):
            response = pool.add(number, 1)
            assert response.value() == number + 1
            placed.append(pool.servers.index(response.server))
    print(json.dumps(placed))


if __name__ == '__main__':
    main()
