"""The call options of a client or a view, and what follows from them for each method."""

from __future__ import annotations

from thrift_client.core.classify import lacked_server
from thrift_client.core.retry import is_retried
from thrift_client.deadlines import in_seconds

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from thrift_client.core.codec import Codec
    from thrift_client.core.service import Method
    from thrift_client.policies import Hedge, RetryPolicy

#: What no view has changed: most options are not a view's.
_NOTHING: Mapping[str, Any] = {}


class CallOptions:
    """The call options of a client or a view; shared by all its calls.

    `endpoint` is where the calls begin. `codec` encodes and decodes the messages of its service.
    `is_one_exchange` says that calls need nothing but exchanges within their timeout: no headers,
    no pinned connection, no limit for attempts. `plans` has the plans of methods whose calls may
    take the short path of `sync/client.py`, without a Call; `plan_of` is asked for those that
    aren't there. `seconds` is the timeout if all methods have the same one and no hedge; None: ask
    `limits`, by method.
    `pin` is the pinned connection that calls use; None: they take one from the endpoint's pool.
    `given` is what views have changed, which holds for attempts on other servers, too.
    """

    __slots__ = (
        'codec', 'endpoint', 'given', 'headers', 'hedge', 'idempotent', 'is_one_exchange', 'limits',
        'pin', 'plans', 'propagate', 'retry', 'seconds', 'timeout', 'timeouts',
    )  # fmt: skip

    def __init__(self, endpoint: Any, options: Any) -> None:
        self.endpoint = endpoint
        self.codec: Codec = endpoint.codec
        self.headers = options.headers
        self.hedge: Hedge | None = options.hedge
        self.idempotent: frozenset[str] | bool = options.idempotent
        self.retry: RetryPolicy | dict[str, RetryPolicy] = options.retry
        self.timeout: float | None = options.timeout
        self.timeouts: dict[str, float | None] | None = options.timeouts
        self.propagate: dict[str, str] | None = options.propagate_deadline
        self.pin: Any = None
        self.given: Mapping[str, Any] = _NOTHING
        self._derive()

    def replace(self, given: Mapping[str, Any]) -> CallOptions:
        """Return a copy with some (checked) options changed; a `timeout` applies to all methods."""
        if len(given) == 1 and 'timeout' in given:
            return self._with_timeout(given['timeout'])
        view = object.__new__(CallOptions)
        for name in CallOptions.__slots__:
            setattr(view, name, given.get(name, getattr(self, name)))
        if 'timeout' in given:
            view.timeouts = given.get('timeouts')
        view.given = {**self.given, **given}
        view._derive()
        return view

    def at(self, endpoint: Any) -> CallOptions:
        """Return the options for an attempt of the same call on another server.

        What views have changed stays, and so do the timeouts: the call ends when it was to end as
        it began. The rest are that server's own.
        """
        if endpoint is self.endpoint:
            return self
        timeouts = {'timeout': self.timeout, 'timeouts': self.timeouts}
        options: CallOptions = endpoint.call_options.replace({**self.given, **timeouts})
        return options

    def _with_timeout(self, timeout: float | None) -> CallOptions:
        """Return a copy with another timeout, for views for single calls."""
        view = object.__new__(CallOptions)
        view.endpoint = self.endpoint
        view.codec = self.codec
        view.headers = self.headers
        view.hedge = self.hedge
        view.idempotent = self.idempotent
        view.retry = self.retry
        view.timeout = timeout
        view.timeouts = None
        view.propagate = self.propagate
        view.pin = self.pin
        view.given = self.given  # `at` keeps the timeouts anyway
        view.is_one_exchange = self.is_one_exchange
        view.plans = self.plans
        view.limits = {}
        view.seconds = None if timeout is None or self.hedge is not None else in_seconds(timeout)
        return view

    def _derive(self) -> None:
        retry = self.retry
        policies = retry.values() if isinstance(retry, dict) else (retry,)
        self.is_one_exchange = (
            self.headers is None
            and self.pin is None
            and not self.propagate
            and all(policy.attempt_timeout is None for policy in policies)
        )
        timeout, uniform = self.timeout, self.timeouts is None and self.hedge is None
        self.seconds = in_seconds(timeout) if uniform and timeout is not None else None
        self.limits: dict[Method, tuple[float | None, Hedge | None]] = {}
        is_small = self.is_one_exchange and self.codec.wire.apache is None
        self.plans: dict[Method, Any] = self.codec.plans if is_small else {}

    def plan_of(self, method: Method) -> Any:
        """Return the plan of a method that `plans` doesn't have; None: no short path."""
        codec = self.codec
        return codec.plan(method) if self.plans is codec.plans else None

    def limits_of(self, method: Method) -> tuple[float | None, Hedge | None]:
        """Return the timeout of a method's calls in seconds (None: no limit), and their Hedge."""
        timeout = self.timeout_of(method.name)
        limits = self.limits[method] = (
            None if timeout is None else in_seconds(timeout),
            self.hedge if self.may_hedge(method) else None,
        )
        return limits

    def timeout_of(self, method: str) -> float | None:
        """Return the timeout of a call of one method, in ms; None: no limit."""
        timeouts = self.timeouts
        return self.timeout if timeouts is None else timeouts.get(method, self.timeout)

    def limit_of(self, method: str) -> str | None:
        """Return the option that limits a call of one method, with its value, for errors."""
        timeout = self.timeout_of(method)
        if timeout is None:
            return None
        option = 'timeout'
        if self.timeouts is not None and method in self.timeouts:
            option = f'timeouts[{method!r}]'
        return f'{option}={timeout:g} ms'

    def retry_of(self, method: str) -> RetryPolicy:
        """Return the policy for one method: its own, or that of '*'."""
        from thrift_client.policies import RetryPolicy

        if isinstance(self.retry, RetryPolicy):
            return self.retry
        return self.retry.get(method) or self.retry.get('*') or RetryPolicy()

    def is_idempotent(self, method: str) -> bool:
        """Tell whether a method may safely run twice."""
        value = self.idempotent
        return value if isinstance(value, bool) else method in value

    def reconsiders(self, method: Method, answer: BaseException) -> bool:
        """Tell whether an answer makes another attempt worthwhile (`retry_on`, a proxy's answer).

        Raises what a function given as `retry_on` raises.
        """
        if not self.is_idempotent(method.name):
            return False
        return lacked_server(answer) or is_retried(answer, self.retry_of(method.name).retry_on)

    def may_hedge(self, method: Method) -> bool:
        """Tell whether calls of a method are hedged."""
        if self.hedge is None or method.oneway or self.pin is not None:
            return False
        return self.is_idempotent(method.name)
