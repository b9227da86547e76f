"""A wire and a codec together, as the unit tests of the bytes need them."""

from thrift_client.core.codec import codec_of
from thrift_client.core.reply import IncomingReply
from thrift_client.core.service import service_of
from thrift_client.core.wire import wire_of as wire_for


class SpokenWire:
    """How calls of one service look to a server with these options."""

    def __init__(self, service, options):
        self.wire = wire_for(options)
        self.codec = codec_of(service, self.wire, options.service_name)

    def __getattr__(self, name):
        return getattr(self.wire, name)

    def request(self, method, arguments, seqid):
        """The bytes of a call, with what a shared channel puts around them."""
        message = self.codec.request(method, arguments, seqid)
        channel = self.wire.channel
        return message if channel is None else channel.wrap(message, seqid, None)

    def reply(self, *args, **kwargs):
        """What puts the reply to a call together."""
        return IncomingReply(self.wire, self.codec, *args, **kwargs)


def wire_of(service, options):
    """The wire and the codec of a service (as `service_of` gives it) for these options."""
    return SpokenWire(service, options)


__all__ = ['SpokenWire', 'service_of', 'wire_of']


def unpacked(method, result):
    """Return the value in a result that was read, or raise the exception in it."""
    exception = method.exception_in(result)
    if exception is not None:
        raise exception
    return result.success if method.returns else None
