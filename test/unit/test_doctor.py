"""What `doctor` says of an installation, for given versions."""

from thrift_client.cli.commands.doctor import problems, unsafe


def test_doctor_names_what_is_unsafe_missing_or_slow():
    """Each release has the attacks that it doesn't hold; 0.25 has none."""
    assert [len(unsafe(release)) for release in ('0.20.0', '0.23.0', '0.24.0', '0.25.0')] == [
        2, 2, 1, 0,
    ]  # fmt: skip
    assert problems('0.25.0', c_extension=True, compiler='/usr/bin/thrift') == []
    old, slow, none = problems('0.24.0', c_extension=False, compiler=None)
    assert 'thrift 0.24.0 is unsafe for untrusted servers' in old
    assert 'no C extension' in slow
    assert 'thrift_client.load() and -s FILE.thrift work without it' in none
