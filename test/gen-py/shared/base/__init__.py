__all__ = ['ttypes', 'constants', 'base_service']
