"""What macOS or Windows lack of what Linux has, by module.

`sitecustomize.py` takes it away, and test/unit/layers.py allows the package to ask for it in one
module alone. What the standard library of a Linux Python can't do without has to stay.
"""

NAMES = {
    'select': (
        *('poll', 'epoll', 'POLLIN', 'POLLOUT', 'POLLERR', 'POLLHUP', 'POLLNVAL', 'POLLPRI'),
        *('POLLRDHUP', 'POLLMSG', 'POLLRDBAND', 'POLLRDNORM', 'POLLWRBAND', 'POLLWRNORM'),
        *('EPOLLIN', 'EPOLLOUT', 'EPOLLET', 'EPOLLONESHOT', 'EPOLLEXCLUSIVE', 'EPOLL_CLOEXEC'),
    ),
    'socket': (
        *('AF_UNIX', 'AF_NETLINK', 'AF_PACKET', 'AF_ALG', 'AF_VSOCK', 'SCM_RIGHTS', 'socketpair'),
        *('MSG_DONTWAIT', 'MSG_NOSIGNAL', 'MSG_MORE', 'MSG_CMSG_CLOEXEC', 'MSG_ERRQUEUE'),
        *('SOCK_NONBLOCK', 'SOCK_CLOEXEC', 'SO_REUSEPORT', 'SO_RCVTIMEO', 'SO_SNDTIMEO'),
        *('SO_BINDTODEVICE', 'SO_PEERCRED', 'SO_DOMAIN', 'SO_PROTOCOL', 'SO_INCOMING_CPU'),
        *('TCP_KEEPIDLE', 'TCP_KEEPINTVL', 'TCP_KEEPCNT', 'TCP_KEEPALIVE', 'TCP_USER_TIMEOUT'),
        *('TCP_QUICKACK', 'TCP_CORK', 'TCP_INFO', 'TCP_DEFER_ACCEPT', 'TCP_SYNCNT'),
    ),
    'signal': (
        *('SIGALRM', 'SIGUSR1', 'SIGUSR2', 'SIGIO', 'SIGPOLL', 'SIGPIPE', 'SIGWINCH'),
        *('SIGVTALRM', 'SIGPROF', 'SIGRTMIN', 'SIGRTMAX', 'ITIMER_REAL', 'ITIMER_VIRTUAL'),
        *('ITIMER_PROF', 'setitimer', 'getitimer', 'alarm', 'pause', 'pthread_kill'),
        *('pthread_sigmask', 'sigwait', 'sigwaitinfo', 'sigtimedwait', 'sigpending'),
    ),
    'os': (
        *('fork', 'forkpty', 'register_at_fork', 'setsid', 'getsid', 'killpg', 'getpgid'),
        *('setpgid', 'getpgrp', 'nice', 'O_ASYNC', 'O_CLOEXEC', 'O_DIRECT', 'O_NONBLOCK'),
        *('pipe2', 'sendfile', 'eventfd', 'pidfd_open', 'memfd_create'),
    ),
}
MODULES = ('fcntl', 'grp', 'pty', 'resource', 'termios', 'tty')
