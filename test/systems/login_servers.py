"""Servers behind Kerberos and DIGEST-MD5: the other side of SASL, without the client's code."""

from __future__ import annotations

import hashlib
import re
import struct

from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.transport.TTransport import TMemoryBuffer

from wire.sasl_server import BAD, COMPLETE, ERROR, OK, START, SaslServer

AUTH, AUTH_INT, AUTH_CONF = 1, 2, 4


class _LoginServer(SaslServer):
    """A server that wraps frames once a connection has logged in."""

    def __init__(self, processor=None):
        super().__init__()
        if processor is not None:
            self._processor = processor
        self.responses = []

    def _say(self, peer, status, payload=b''):
        self._send(peer, struct.pack('!BI', status, len(payload)) + payload)

    def _talk(self, peer):
        self._wrap = self._unwrap = None
        super()._talk(peer)

    def _serve(self, peer, source):
        data = b''
        while True:
            (size,) = struct.unpack('!i', source.read(4))
            data += self._unwrap(source.read(size))
            made = TMemoryBuffer()
            try:
                self._processor.process(
                    TBinaryProtocol(TMemoryBuffer(data)), TBinaryProtocol(made)
                )
            except EOFError:
                continue
            frame = self._wrap(made.getvalue())
            self._send(peer, struct.pack('!i', len(frame)) + frame)
            return True


class GssServer(_LoginServer):
    """Takes GSSAPI with the keys of a keytab, and offers these qualities of protection."""

    def __init__(self, keytab, offers=AUTH, *, max_size=1 << 16, processor=None, lies=False):
        super().__init__(processor)
        self._keytab = str(keytab)
        self._offers = offers
        self._max_size = max_size
        self._lies = lies  # it agrees to encrypt, and only signs
        self.users = []
        self.chosen = []

    def _log_in(self, peer, source):
        import gssapi

        status, mechanism = self._read(source)
        if status != START or mechanism != b'GSSAPI':
            self._say(peer, BAD, b'Unsupported mechanism type ' + mechanism)
            return False
        credentials = gssapi.Credentials(usage='accept', store={'keytab': self._keytab})
        context = gssapi.SecurityContext(creds=credentials, usage='accept')
        context.__DEFER_STEP_ERRORS__ = False
        try:
            while not context.complete:
                _, token = self._read(source)
                self._say(peer, OK, context.step(token) or b'')
            _, empty = self._read(source)
            assert empty == b'', empty
            offer = struct.pack('!I', self._offers << 24 | self._max_size)
            self._say(peer, OK, context.wrap(offer, False).message)
            _, wrapped = self._read(source)
            answer = context.unwrap(wrapped).message
        except gssapi.exceptions.GSSError as exc:
            self._say(peer, ERROR, f'GSS initiate failed ({exc.gen_message()})'.encode())
            return False
        (word,) = struct.unpack('!I', answer[:4])
        self.chosen.append(word >> 24)
        self.users.append(answer[4:].decode())
        self._begin(context, word >> 24)
        self.logins += 1
        self._say(peer, COMPLETE)
        return True

    def _begin(self, context, quality):
        if quality == AUTH:
            self._wrap = self._unwrap = lambda data: data
            return

        def unwrap(data):
            assert len(data) <= self._max_size + 1024
            unwrapped = context.unwrap(data)
            assert unwrapped.encrypted == (quality == AUTH_CONF)
            return unwrapped.message

        self._unwrap = unwrap
        encrypts = quality == AUTH_CONF and not self._lies
        self._wrap = lambda data: context.wrap(data, encrypts).message


class DigestServer(_LoginServer):
    """Takes DIGEST-MD5, as Hadoop's servers do for delegation tokens."""

    realm = 'default'

    def __init__(self, user, password, *, offers='auth'):
        super().__init__()
        self._user, self._password, self._offers = user, password, offers
        self.uris = []  # the service and the host that each login names

    def _log_in(self, peer, source):
        self._wrap = self._unwrap = lambda data: data
        status, mechanism = self._read(source)
        if (status, mechanism) != (START, b'DIGEST-MD5'):
            self._say(peer, BAD, b'Unsupported mechanism type ' + mechanism)
            return False
        self.responses.append(self._read(source))
        nonce = 'bm9uY2U='
        self._say(
            peer,
            OK,
            f'realm="{self.realm}",nonce="{nonce}",qop="{self._offers}",charset=utf-8,'
            'algorithm=md5-sess'.encode(),
        )
        _, response = self._read(source)
        said = dict(re.findall(r'([\w-]+)="?([^",]*)"?', response.decode()))
        self.uris.append(said['digest-uri'])
        if said['qop'] != 'auth' or said['response'] != self._expected(said, 'AUTHENTICATE:'):
            self._say(peer, ERROR, b'DIGEST-MD5: digest response format violation')
            return False
        self.logins += 1
        self._say(peer, COMPLETE, f'rspauth={self._expected(said, ":")}'.encode())
        return True

    def _expected(self, said, verb):
        def hexed(text):
            return hashlib.md5(text.encode()).hexdigest()

        secret = hashlib.md5(f'{self._user}:{self.realm}:{self._password}'.encode()).digest()
        a1 = hashlib.md5(
            secret + f':{said["nonce"]}:{said["cnonce"]}'.encode()
        ).hexdigest()
        a2 = hexed(f'{verb}{said["digest-uri"]}')
        return hexed(f'{a1}:{said["nonce"]}:{said["nc"]}:{said["cnonce"]}:{said["qop"]}:{a2}')
