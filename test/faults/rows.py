"""The rows of the fault matrix, and the table of their tests' results that documents show."""

from __future__ import annotations

PHASES = {
    1: 'Connecting',
    12: 'TLS and authentication',
    20: 'Sending',
    28: 'Reading the reply',
    54: 'The life of a server',
    60: 'The life of the client',
    78: 'Pinned connections, attempts and hedges',
    87: 'Hostile servers, sources and texts',
}

#: The fault, and what a caller sees of it.
ROWS = {
    1: ('Connection refused', 'ConnectError at once, which names every address'),
    2: ('The connect is never answered', 'CallTimeout at the deadline, or by connect_timeout'),
    3: ('The network is unreachable', 'ConnectError at once'),
    4: ('The name has no address', 'ResolveError; addresses that were good before stay in use'),
    5: ('The resolver hangs', 'CallTimeout at the deadline; one thread for each name'),
    6: ('The name moves to another address', 'new connections go there, no call fails'),
    7: ('One of two address families fails', 'the other one is used, 250 ms later at most'),
    8: ('A bad host or port', 'ValueError before anything is done'),
    9: ('Descriptors run out', 'ConnectError with its errno; it works again once there are some'),
    10: ('Local ports run out', 'ConnectError with its errno, no failure of the server'),
    11: ('No thread can be started', 'a fan-out still has a response for each server'),
    12: ('The certificate is for another name', 'CertificateError, never tried again'),
    13: ('The certificate has expired', 'CertificateError, never tried again'),
    14: ('The certificate is of an unknown authority', 'CertificateError, never tried again'),
    15: ('TLS on one side only', 'an error that says so, and which option to set'),
    16: ('The handshake hangs, or is reset', 'CallTimeout at the deadline; TLSError'),
    17: ('The server wants a certificate', 'TLSError, not ConnectionLost'),
    18: ("The server's certificate is replaced", 'new connections work'),
    19: ('The credentials are refused', 'AuthError, never tried again, without the password'),
    20: ("An argument can't be encoded", 'EncodeError; nothing is sent, the connection stays'),
    21: ('The request is too large', 'sent whole, or CallTimeout: only replies are limited'),
    22: ('Reset after any byte of the request', 'run once at most, and never if the error says so'),
    23: ("The server doesn't read", 'CallTimeout; the call did not run'),
    24: ('Closed while idle', 'no error if 5 ms or more before the call; a new connection'),
    25: ('Closed as the request arrives', 'ConnectionLost if it may have run; never run twice'),
    26: ('Oneway on a closed connection', 'sent on a new one if the end was noticed'),
    27: ('The network fails while connected', 'CallTimeout; the connection is not used again'),
    28: ('The server is too slow', 'CallTimeout at the deadline; a failure of the server'),
    29: ('The reply drips', 'CallTimeout at the deadline'),
    30: ('The reply arrives after the deadline', 'the next call gets its own'),
    31: ('Closed instead of a reply', 'ConnectionLost, with a hint on a first connection'),
    32: ('Reset or closed within the reply', 'ConnectionLost; no part of a reply is seen'),
    33: ('A wrong sequence id', 'ReplyMismatch'),
    34: ('A wrong method name', 'ReplyMismatch'),
    35: ('A wrong message type', 'ReplyMismatch'),
    36: ('The server has no such method', 'its TApplicationException; the connection stays'),
    37: ('The handler failed', 'its TApplicationException; the connection stays'),
    38: ('The server is out of step', 'its TApplicationException; the connection is closed'),
    39: ('The handler returned nothing', 'TApplicationException; the connection stays'),
    40: ('A declared exception', 'raised unchanged; the connection stays'),
    41: ('A reply cut short', 'CallTimeout if nothing follows, else ConnectionLost'),
    42: ('A frame that claims too much', 'MessageTooLarge, before any memory is taken'),
    43: ('A negative length', 'DecodeError'),
    44: ('Garbage, zeros, an empty frame', 'DecodeError or WireMismatch'),
    45: ('More or less than a message in a frame', 'DecodeError'),
    46: ('Bytes without a request', 'never a value; a new connection'),
    47: ('Another protocol or transport', 'an error that says which options to try'),
    48: ('Counts and sizes over the limit', 'MessageTooLarge or DecodeError, in limited memory'),
    49: ('Structs nested without end', 'DecodeError, also in a thread with little stack'),
    50: ('Compressed data over the limit', 'MessageTooLarge, in limited memory'),
    51: ('Text that is not UTF-8', "replacement characters, as Apache's C extension reads it"),
    52: ('JSON cut short', 'ConnectionLost or DecodeError at once'),
    53: ('Other statuses of HTTP', 'HttpStatusError'),
    54: ('A server is killed and restarted', "calls in flight fail; idempotent ones don't"),
    55: ('A server drains', 'calls in flight finish'),
    56: ('Servers restart one after the other', 'no idempotent call fails'),
    57: ('Every worker of the server is in use', 'CallTimeout; max_connections limits the damage'),
    58: ('A server fails and recovers', 'one probe restores it'),
    59: ('All servers are down', 'an error at once, with the reason of each'),
    60: ('The process forks', 'parent and child each have their own connections'),
    61: ('A storm of threads', 'max_connections holds, and each call gets its own reply'),
    62: ('No connection is free', 'PoolExhausted at the deadline; no call is left in the queue'),
    63: ('Signals', 'a call goes on'),
    64: ('An exception from outside', 'raised unchanged; the connection is closed'),
    65: ('A task is cancelled', 'CancelledError; the connection is closed'),
    66: ('A hedge that loses', "the winner's value"),
    67: ('A callback of the user fails', 'a listener: logged once; a key function: raised'),
    68: ('Closed while in use', 'calls in flight finish, new ones: ClientClosed'),
    69: ('A client is never closed', 'ResourceWarning that says where it was made; it is closed'),
    70: ('The main thread returns during a call', "the user's threads finish their calls"),
    71: ('No more threads are started', 'ClientClosed, or the caller does the work'),
    72: ('gevent', 'the same results'),
    73: ('The wall clock jumps', 'nothing'),
    74: ('Servers are added and removed under load', 'no call fails'),
    75: ('A long run through random faults', 'no wrong answer, nothing grows'),
    76: ('A server that stays down', 'one log line a second at most'),
    77: ('A debugger or notebook looks at a client', 'no call is made'),
    78: ('A pinned connection is lost', 'ConnectionLost; no later call runs on another one'),
    79: ('on_connect is refused', 'AuthError, never tried again, no failure of the server'),
    80: ('on_connect fails or hangs', 'ConnectError within the timeout'),
    81: ('Silent, with attempt_timeout', 'another attempt within the timeout, if idempotent'),
    82: ('An answer in retry_on', 'another attempt, if idempotent; no failure of the server'),
    83: ('Servers are silent, with hedges', 'the answer of one that is not, within the timeout'),
    84: ('Ejected, with check=', 'no call reaches it until a check has found it healthy'),
    85: ('A function for ssl= or sasl= fails', 'AuthError with the cause; nothing is sent'),
    86: ('Retried, with propagate_deadline', 'the server sees the time left and which attempt'),
    87: ('Bytes without end and without a message', 'an error in time, in limited memory'),
    88: ('A reply that takes long to decode', 'CallTimeout: decoding is broken off'),
    89: ('Bytes behind a whole reply', "an error or a new connection, no other call's answer"),
    90: ('A member that weakens the pool', 'its TLS, login, limits and files are as they were'),
    91: ('Credentials that are repeated or mistyped', 'in no text, event, figure or pickle'),
    92: ('Terminal escapes in what a server sends', 'shown, not obeyed'),
    93: ('A request log that was cut or made up', 'left out, with its line; no code is imported'),
    94: ('Servers that leave', 'their metrics and traces end'),
    95: ('Nested data on old releases of thrift', 'DecodeError, on a stack of 8 MB'),
    96: ('Signals, one after the other', 'the timeout does not grow'),
    97: ('Hundreds of dead servers', 'an error of less than 1,000 characters'),
    98: ('A sub-interpreter', 'ImportError that says what to use'),
    99: ('A registry that ends each watch', 'one reading a second at most'),
    100: ('Two servers register one name', 'the first keeps it; the log warns'),
}

#: What is tested in other folders, too, or only there.
ELSEWHERE = {
    5: 'test/client/test_deadlines.py',
    15: 'test/wire',
    24: 'test/faults/test_given_back.py',
    28: 'test/client/test_deadlines.py',
    47: 'test/wire',
    60: 'test/ground',
    62: 'test/faults/test_given_back.py',
    64: 'test/ground',
    65: 'test/aio',
    66: 'test/client, test/faults/test_twins.py',
    68: 'test/faults/test_given_back.py',
    69: 'test/ground',
    70: 'test/ground',
    74: 'test/discovery, test/client/test_threads.py, test/faults/test_pool_machine.py',
    75: 'test/faults/test_soak.py, make soak',
    87: 'test/wire/test_floods.py, test/unit/test_transports.py',
    88: 'test/wire/test_floods.py, test/unit/test_large_replies.py',
    89: 'test/wire/test_fuzzed_answers.py, test/unit/test_transports.py',
    90: 'test/discovery/test_strangers.py',
    91: 'test/client/test_secrets.py, test/unit/test_transports.py',
    92: 'test/cli/test_untrusted.py',
    93: 'test/cli/test_untrusted.py',
    94: 'test/observe',
    95: 'test/wire/test_thrift_releases.py, test/unit/test_failures.py',
    96: 'test/client/test_small_faults.py',
    97: 'test/client/test_small_faults.py',
    98: 'test/client/test_subinterpreters.py',
    99: 'test/discovery/test_etcd.py',
    100: 'test/discovery/test_etcd.py',
}

_HEAD = """\
# The fault matrix

Every fault is a test named after its row, `test_row_01_…`, against real servers and real
connections. This page is what `make faults` has written.

"""


def table(results: dict[int, list[str]]) -> str:
    """Return the matrix as Markdown.

    Args:
        results: for each row, how its tests ended: passed, failed or skipped.
    """
    lines = [_HEAD + '| # | Fault | What a caller sees | Tests |', '| --- | --- | --- | --- |']
    for number, (fault, seen) in ROWS.items():
        if number in PHASES:
            lines.append(f'| | **{PHASES[number]}** | | |')
        lines.append(f'| {number} | {fault} | {seen} | {_told(number, results.get(number, []))} |')
    return '\n'.join(lines) + '\n'


def _told(number: int, outcomes: list[str]) -> str:
    told = [
        f'{outcomes.count(outcome)} {outcome}'
        for outcome in ('passed', 'failed', 'skipped')
        if outcome in outcomes
    ]
    if number in ELSEWHERE:
        told.append(f'see {ELSEWHERE[number]}')
    return ', '.join(told) or '**none**'
