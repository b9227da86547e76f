__all__ = ['ttypes', 'constants', 'test_service']
