__all__ = ['ttypes', 'constants', 'child']
