__all__ = ['ttypes', 'constants', 'parent']
