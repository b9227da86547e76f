"""The stubs of modules that are made here."""

from types import ModuleType

from thrift.Thrift import TType

from thrift_client.cli.commands import stub_types


def test_a_module_whose_name_ends_in_another_s_keeps_its_own():
    """What stands in shared.ttypes is written short there, what stands in geo.shared.ttypes not."""
    own = {'thrift_spec': (), '__module__': 'shared.ttypes'}
    point, small = type('Point', (), own | {'__module__': 'geo.shared.ttypes'}), type('Id', (), own)
    at, id_ = (1, TType.STRUCT, 'at', [point, None], None), (2, TType.STRUCT, 'id', [small], None)
    spec = (None, at, id_)
    module = ModuleType('shared.ttypes')
    module.Line = type('Line', (), own | {'thrift_spec': spec})
    text = stub_types.text(module)
    assert '    at: geo.shared.ttypes.Point | None\n    id: Id | None\n' in text
