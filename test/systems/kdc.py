"""A real Kerberos realm on loopback: MIT's KDC with a database of its own in a temporary folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

REALM = 'KV.TEST'
#: Debian has the servers where only root's path looks.
_PATH = os.pathsep.join((os.environ.get('PATH', ''), '/usr/sbin', '/sbin'))
_CONFIG = """
[libdefaults]
  default_realm = {realm}
  dns_lookup_kdc = false
  dns_lookup_realm = false
  dns_canonicalize_hostname = false
  rdns = false
  udp_preference_limit = 1
[realms]
  {realm} = {{
    kdc = 127.0.0.1:{port}
  }}
[domain_realm]
  .kv.test = {realm}
"""
_KDC = """
[kdcdefaults]
  kdc_listen = 127.0.0.1:{port}
  kdc_tcp_listen = 127.0.0.1:{port}
[realms]
  {realm} = {{
    database_name = {folder}/principal
    key_stash_file = {folder}/stash
    acl_file = {folder}/kadm5.acl
  }}
"""


def find(program):
    """Return the path of a program; None if it is not installed."""
    return shutil.which(program, path=_PATH)


def missing():
    """Return the names of what a realm needs and is not installed."""
    return [name for name in ('krb5kdc', 'kdb5_util', 'kadmin.local', 'kinit') if not find(name)]


class Realm:
    """The realm, with a KDC that runs until `close`. `env` is what its programs need."""

    def __init__(self, folder):
        self.folder = Path(folder)
        with socket.create_server(('127.0.0.1', 0)) as found:
            self.port = found.getsockname()[1]
        names = {'realm': REALM, 'port': self.port, 'folder': self.folder}
        (self.folder / 'krb5.conf').write_text(_CONFIG.format(**names))
        (self.folder / 'kdc.conf').write_text(_KDC.format(**names))
        self.env = {
            'KRB5_CONFIG': str(self.folder / 'krb5.conf'),
            'KRB5_KDC_PROFILE': str(self.folder / 'kdc.conf'),
            'KRB5CCNAME': f'FILE:{self.folder}/cache',
        }
        self.run('kdb5_util', 'create', '-s', '-P', 'master')
        self._kdc = subprocess.Popen(
            [find('krb5kdc'), '-n'],
            env={**os.environ, **self.env},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._wait()

    def _wait(self):
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(('127.0.0.1', self.port), 1).close()
            except OSError:
                assert time.monotonic() < end, 'the KDC does not start'
                time.sleep(0.02)
            else:
                return

    def run(self, program, *arguments, text=None, **env):
        """Run a program of Kerberos in this realm; raises if it fails."""
        done = subprocess.run(
            [find(program), *arguments],
            env={**os.environ, **self.env, **env},
            input=text,
            text=True,
            capture_output=True,
            check=False,
            timeout=30,
        )
        assert not done.returncode, done.stdout + done.stderr

    def add(self, principal, *, password=None):
        """Add a principal; returns the path of its keytab, None if it has a password."""
        if password is not None:
            self.run('kadmin.local', '-q', f'addprinc -pw {password} {principal}')
            return None
        keytab = self.folder / (principal.replace('/', '-') + '.keytab')
        self.run('kadmin.local', '-q', f'addprinc -randkey {principal}')
        self.run('kadmin.local', '-q', f'ktadd -k {keytab} {principal}')
        return keytab

    def log_in(self, principal, password, *, cache=None, lifetime='1h'):
        """Put a ticket into the cache, or into that of another name."""
        env = {} if cache is None else {'KRB5CCNAME': f'FILE:{cache}'}
        self.run('kinit', '-l', lifetime, principal, text=password + '\n', **env)

    def close(self):
        """Stop the KDC."""
        self._kdc.terminate()
        self._kdc.wait()
