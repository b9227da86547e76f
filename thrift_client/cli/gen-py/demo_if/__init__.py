__all__ = ['ttypes', 'constants', 'store', 'key_value']
