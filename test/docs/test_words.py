"""Texts are in plain English: one term for one thing, as far as a machine can check it."""

import pytest

from docs import words


def test_texts_avoid_what_the_glossary_avoids():
    """No text has a word to avoid, or a pattern."""
    found = [
        f'{path.relative_to(words.ROOT).as_posix()}:{each.line}: {each.text!r}: {each.rule.instead}'
        for path in words.texts()
        for each in words.found_in_file(path)
    ]
    assert not found, '\n'.join(found)


def test_errors_are_statements():
    """No error that is raised asks a question: it says what is missing and what to try."""
    asked = {
        path.relative_to(words.ROOT).as_posix(): found
        for path in words.texts()
        if path.suffix == '.py' and (found := words.questions_as_errors(path.read_text()))
    }
    assert not asked


CASES = [
    ('The server is no good match.', 'is no X'),
    ('There is no server, and there are no replies.', None),
    ('It is no longer used, with no more than one.', None),
    ('It has a time\nlimit.', 'time limit'),
    ('a time-out', 'time-out'),
    ('one budget for each call', 'budget'),
    ('the retry budget, and `budget` or budget=0.2', None),
    ('whatever the fleet does', 'fleet'),
    ('a server that is not well', 'well'),
    ('a well-formed message is well known', None),
    ('The value comes as it is.', 'comes'),
    ('The list is kept as it is, and used.', 'as it is'),
    ('as it is closed', None),
    ('That hangs on the name.', 'hangs on'),
    ('```\nbeside\n```\nand `beside`, {beside}\n\n    beside\n', None),
    ('an error is no\n`Exception`', 'is no X'),
    ('It stands beside the others.', 'stands'),
    ('It tells whether it ran.', 'tells of'),
    ('Tell whether it ran.', None),
]


@pytest.mark.parametrize(('text', 'name'), CASES)
def test_the_rules_find_what_they_are_for(text, name):
    """Each pattern is found in prose, also across lines, and not in code."""
    found = [each.rule.name for each in words.found_in(text)]
    assert (name in found) if name else not found


def test_docstrings_of_functions_begin_with_verbs():
    """A noun at the beginning is found, but not that of a property or a class."""
    source = (
        'class A:\n """A thing."""\n @property\n def p(self):\n  """The size."""\n'
        ' def f(self):\n  """The size."""\n def g(self):\n  """Return the size."""\n'
    )
    assert [each.text for each in words.nouns_in(source)] == ['f: The …']


def test_python_is_read_by_its_texts():
    """Comments, docstrings and strings count, names don't."""
    source = '"""It is no\nserver."""\nbeside = fleet = 1  # a fleet\nx = f\'{beside} in vain\'\n'
    found = [(each.line, each.rule.name) for each in words.found_in(source, python=True)]
    assert found == [(1, 'is no X'), (3, 'fleet'), (4, 'in vain')]
    found = words.found_in(source, python=True, strings=False)
    assert [each.rule.name for each in found] == ['is no X', 'fleet']
