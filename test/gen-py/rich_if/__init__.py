__all__ = ['ttypes', 'constants', 'rich_service']
