"""The values of client options as texts on a command line, in a file or in the environment."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import yaml

import thrift_client
from thrift_client.cli import durations
from thrift_client.cli.ui import DURATION, click, nearest
from thrift_client.options import OPTIONS, PROTOCOLS, TRANSPORTS

#: Options that are objects in Python and have no text.
UNWRITTEN = frozenset({'arrays', 'listeners', 'on_connect'})

#: Options whose text is `key=value,key=value`, and the class that takes these keywords.
POLICIES = {'circuit_breaker': 'CircuitBreaker', 'hedge': 'Hedge', 'retry': 'RetryPolicy'}

#: Options whose value is one of some names.
CHOICES = {'protocol': PROTOCOLS, 'transport': TRANSPORTS}

TRUE, FALSE = ('1', 'true', 'yes', 'on'), ('0', 'false', 'no', 'off')


class Meaning(NamedTuple):
    """The help text of an option for shell users."""

    panel: str
    text: str


def _listed(names: tuple[str, ...]) -> str:
    return f'{", ".join(names[:-1])} or {names[-1]}'


#: An option that isn't here has the text of the table of options.
MEANINGS = {
    'timeout': Meaning('Call', 'limit of one call, with connect and retries'),
    'timeouts': Meaning('Call', 'timeouts of single methods: getk=500ms,report=5m'),
    'retry': Meaning('Call', 'when to try again: attempts=3,backoff=50ms,connect=true'),
    'idempotent': Meaning('Call', 'methods that may safely run twice (getk,keys), or true for all'),
    'hedge': Meaning('Call', 'send a second request when the first is slow: after=20ms'),
    'headers': Meaning('Call', 'a header for HTTP or THeader; may be repeated'),
    'propagate_deadline': Meaning('Call', 'send the time left in a header'),
    'log_filename': Meaning('Call', 'append every request to this file, for replay'),
    'protocol': Meaning('Connection', _listed(PROTOCOLS)),
    'transport': Meaning('Connection', _listed(TRANSPORTS)),
    'service_name': Meaning('Connection', 'the name of the service on a multiplexed server'),
    'sasl': Meaning('Connection', 'log in: mechanism=PLAIN,username=me,password=secret'),
    'connect_timeout': Meaning('Connection', 'limit of one connect, within --timeout'),
    'max_connections': Meaning('Connection', 'maximum connections to one server; none: no limit'),
    'max_idle': Meaning('Connection', 'maximum idle connections kept to one server'),
    'idle_timeout': Meaning('Connection', 'close a connection that was idle longer; none: never'),
    'max_age': Meaning('Connection', 'close a connection that is older; none: never'),
    'max_message_size': Meaning('Connection', 'maximum bytes of a reply'),
    'max_container_length': Meaning('Connection', 'maximum elements of one list, set or map'),
    'circuit_breaker': Meaning('Server pool', 'when to eject a server: failures=5,eject=1s'),
    'ssl': Meaning('TLS', "TLS with the system's authorities"),
    'server_hostname': Meaning('TLS', 'the name that the certificate must contain'),
}


def meaning(name: str) -> Meaning:
    """Return what the help says of an option of clients."""
    return MEANINGS.get(name) or Meaning('Connection', OPTIONS[name].text)


class Given:
    """A given value, which may be None (for click, None means not given)."""

    __slots__ = ('value',)

    def __init__(self, value: Any) -> None:
        self.value = value


class OptionType(click.ParamType):  # type: ignore[type-arg]
    """The type of a flag: the checks are those of the option itself."""

    def __init__(self, name: str) -> None:
        self.option = name
        self.name = _kind(name)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Given:
        """Read and check a text, or check a value from a config file."""
        if isinstance(value, Given):
            return value
        try:
            if isinstance(value, str):
                value = reader(self.option)(value)
            elif self.option in POLICIES and isinstance(value, dict):
                value = _policy(self.option, _values(value))
            elif self.option == 'timeouts' and isinstance(value, dict):
                value = _timeouts(value)
            return Given(OPTIONS[self.option].check(self.option, value))
        except (ValueError, TypeError) as exc:
            self.fail(str(exc), param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        """Complete the names that the option has, or a file's."""
        from click.shell_completion import CompletionItem

        if self.option == 'log_filename':
            return click.Path().shell_complete(ctx, param, incomplete)
        names = CHOICES.get(self.option, ())
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


class HeaderType(click.ParamType):  # type: ignore[type-arg]
    """The type of a flag that takes one header; its value is the pair of name and value.

    An environment variable has one on each line, a config file an object of them.
    """

    name = 'NAME: VALUE'

    def split_envvar_value(self, rv: str) -> list[str]:
        """Return the lines of a variable."""
        return [line for line in rv.split('\n') if line.strip()]

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Read a text, or check a pair from a config file."""
        pair = value
        if isinstance(value, str):
            name, colon, text = value.partition(':')
            pair = (name.strip(), text.strip()) if colon else None
        if not isinstance(pair, tuple) or not all(isinstance(part, str) for part in pair):
            # What was given may be a secret.
            self.fail('a header is written "name: value", both texts', param, ctx)
        return pair


def reader(name: str) -> Callable[[str], Any]:
    """Return a function that parses an option's text. It raises ValueError."""
    if name in POLICIES:
        return lambda text: _policy(name, _values(_policy_pairs(name, text)))
    if name in CHOICES:
        return lambda text: _choice(name, text)
    if is_duration(name):
        return lambda text: None if text.lower() == 'none' else durations.milliseconds(text)
    return _READERS.get(name) or (lambda text: _scalar(name, text))


def is_duration(name: str) -> bool:
    """Tell whether an option's value is a duration."""
    return OPTIONS[name].check is OPTIONS['timeout'].check


def pairs(text: str) -> dict[str, str]:
    """Return `a=1,b=text` as a dict of texts. Raises ValueError."""
    found = {}
    for part in filter(None, text.split(',')):
        key, equals, value = part.partition('=')
        if not equals:
            # What was given may be a secret.
            raise ValueError('expected key=value,key=value; no value can have a comma')
        found[key.strip()] = value
    return found


def _policy_pairs(name: str, text: str) -> dict[str, str]:
    if text.isdecimal():  # as for clients that take a number of attempts
        first = next(iter(inspect.signature(getattr(thrift_client, POLICIES[name])).parameters))
        hint = f'did you mean {first}={text}?'
        raise ValueError(f'expected key=value,key=value, not {text!r}; {hint}')
    return pairs(text)


def flag(text: str) -> bool:
    """Parse a text like `1`, `true` or `off`. Raises ValueError."""
    if text.lower() not in TRUE + FALSE:
        raise ValueError(f'{text!r} is not one of {", ".join(TRUE + FALSE)}')
    return text.lower() in TRUE


def _values(given: dict[str, Any]) -> dict[str, Any]:
    """Parse texts as YAML, or as durations with their units."""
    found = {}
    for key, text in given.items():
        if not isinstance(text, str):
            found[key] = text
            continue
        try:
            found[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ValueError(f'{key}={text} is not a value') from None
        if isinstance(found[key], str):
            try:
                found[key] = durations.milliseconds(text)
            except ValueError:
                pass  # the name of a method
    return found


def _policy(name: str, given: dict[str, Any]) -> Any:
    """Return a policy of these keywords."""
    kind = getattr(thrift_client, POLICIES[name])
    known = [each for each in inspect.signature(kind).parameters if each != 'retry_on']
    for key in given:
        if key not in known:
            hint = nearest(key, known) or f'; it has {", ".join(known)}'
            raise ValueError(f'{POLICIES[name]} has no {key!r}{hint}')
    return kind(**given)


def _choice(name: str, text: str) -> str:
    names = CHOICES[name]
    if text not in names:
        hint = nearest(text, names) or f'; it is one of {", ".join(names)}'
        raise ValueError(f'unknown {name} {text!r}{hint}')
    return text


def _idempotent(text: str) -> Any:
    return True if text in TRUE else tuple(filter(None, text.split(',')))


def _timeouts(given: dict[str, Any]) -> dict[str, Any]:
    limit = reader('timeout')
    return {
        method: limit(value) if isinstance(value, str) else value
        for method, value in given.items()
    }


def _sasl(text: str) -> dict[str, str]:
    return pairs(text) if '=' in text else {'mechanism': text}


def _scalar(name: str, text: str) -> Any:
    if text.lower() == 'none':
        return None
    default = OPTIONS[name].default
    if isinstance(default, bool):
        return flag(text)
    if isinstance(default, int) or name.startswith('max_'):
        try:
            return int(text)
        except ValueError:
            raise ValueError(f'{text!r} is not a number') from None
    return text


def _propagate(text: str) -> Any:
    return flag(text) if '=' not in text else pairs(text)


_READERS: dict[str, Callable[[str], Any]] = {
    'idempotent': _idempotent,
    'propagate_deadline': _propagate,
    'sasl': _sasl,
    'timeouts': lambda text: _timeouts(pairs(text)),
}


def _kind(name: str) -> str:
    """Return the name of a flag's value in the help."""
    default = OPTIONS[name].default
    if name in POLICIES or name in ('sasl', 'timeouts'):
        return 'KEY=VALUE,…'
    if is_duration(name):
        return DURATION
    if name in CHOICES:
        return 'NAME'
    if name == 'idempotent':
        return 'METHOD,…'
    if name == 'log_filename':
        return 'FILE'
    if isinstance(default, bool):
        return 'BOOLEAN'
    return 'NUMBER' if isinstance(default, int) or name.startswith('max_') else 'TEXT'
