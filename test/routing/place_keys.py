"""Prints where each router places ten thousand keys; a test compares two processes."""
import json

from thrift_client.routing import router

NAMES = tuple(f'10.0.0.{number}:9090' for number in range(7))
KEYS = [
    key
    for number in range(2500)
    for key in (f'key-{number}', f'key-{number}'.encode(), number * 7919, (number, 'a', None))
]


def placements() -> dict[str, list[int]]:
    """Place the keys by each router, with weights where it takes some."""
    tables = {
        'jump': router('jump').table(NAMES, (1,) * 7),
        'ketama': router('ketama').table(NAMES, (1, 2, 3, 4, 5, 6, 7)),
        'maglev': router('maglev').table(NAMES, (1, 2, 3, 4, 5, 6, 7)),
        'modulo': router('modulo').table(NAMES, (1,) * 7),
        'rendezvous': router('rendezvous').table(NAMES, (1, 2, 3, 4, 5, 6, 7)),
    }
    return {name: [table.index(key) for key in KEYS] for name, table in tables.items()}


if __name__ == '__main__':
    print(json.dumps(placements()))
