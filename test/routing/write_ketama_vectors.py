"""Print where another library places keys by ketama: `python write_ketama_vectors.py`.

It needs uhashring; what it printed is kept in `ketama_vectors.json`, so that the tests don't.
"""
import json

from uhashring import HashRing

FLEETS = [
    {'10.0.0.1:9090': 1},
    {f'10.0.0.{i}:9090': 1 for i in range(1, 5)},
    {f'server-{i}': 1 for i in range(17)},
    {'a:1': 1, 'b:2': 2, 'c:3': 3, 'd:4': 4},
    {'small': 1, 'large': 1000},
]
KEYS = [f'user:{i}' for i in range(200)] + ['', 'é', '日本', '42']


def placed(fleet: dict[str, int]) -> dict[str, object]:
    """Place all keys on one set of servers."""
    ring = HashRing({name: {'weight': weight} for name, weight in fleet.items()}, hash_fn='ketama')
    return {'fleet': fleet, 'servers': [ring.get_node(key) for key in KEYS]}


if __name__ == '__main__':
    print(json.dumps({'keys': KEYS, 'placed': [placed(fleet) for fleet in FLEETS]}, indent=1))
