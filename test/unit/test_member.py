"""What a member of a list may say in its address."""

import pytest

from thrift_client.discovery import Member
from thrift_client.discovery.member import permitted


@pytest.mark.parametrize(
    ('address', 'plain', 'said', 'ignored'),
    [
        ('h:1', 'h:1', {}, ()),
        ('unix:/a@b?c', 'unix:/a@b?c', {}, ()),
        ('thrift://h:1', 'thrift://h:1', {}, ()),
        ('thrift://h:1?frame=1&protocol=compact', 'thrift://h:1',
         {'frame': '1', 'protocol': 'compact'}, ()),
        ('thrift://u:p@h:1?ssl=0&frame=1&max_message_size=9', 'thrift://h:1', {'frame': '1'},
         ('credentials', 'max_message_size', 'ssl')),
        ('https://u@h/a/b?service_name=S&log_filename=/tmp/x', 'https://h/a/b',
         {'service_name': 'S'}, ('credentials', 'log_filename')),
    ],
)  # fmt: skip
def test_what_a_url_says(address, plain, said, ignored):
    """Four keys are a member's to say; all else is ignored."""
    assert permitted(Member(address)) == (plain, tuple(said.items()), ignored)
