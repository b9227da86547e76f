"""The matrix: every supported CPython with every supported thrift (`make check-all`)."""

import os
from pathlib import Path

import nox

nox.needs_version = '>=2024.10'
nox.options.default_venv_backend = 'venv'
nox.options.sessions = ['lint', 'types', 'tests']

PYTHONS = ['3.11', '3.12', '3.13', '3.14']
THRIFTS = ['0.20', '0.21', '0.22', '0.23', '0.24', '0.25']

# pyenv's interpreters go first: its shims have the same names, and fail unless a version is chosen.
PYENV = (str(path) for path in Path.home().glob('.pyenv/versions/3.*/bin'))
os.environ['PATH'] = os.pathsep.join((*PYENV, os.environ['PATH']))


def install(session: nox.Session, group: str, *extra: str) -> None:
    session.install('pip>=25.1')  # the first that knows dependency groups
    session.install('--editable', '.[all]', '--group', group, *extra)


@nox.session(python=PYTHONS)
@nox.parametrize('thrift', THRIFTS)
def tests(session: nox.Session, thrift: str) -> None:
    install(session, 'test', f'thrift=={thrift}.*')
    session.run('python', '-m', 'pytest', '-n', '4', '--dist', 'worksteal', *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    install(session, 'lint')
    session.run('ruff', 'check', '.')


@nox.session(python=PYTHONS)
def types(session: nox.Session) -> None:
    install(session, 'lint')
    session.run('mypy', '--python-version', str(session.python))


@nox.session
def docs(session: nox.Session) -> None:
    install(session, 'docs')
    session.run('python', '-m', 'sphinx', '-W', '-q', '-b', 'html', 'docs', 'docs/_build/html')
