__all__ = ['ttypes', 'constants', 'bench_service']
