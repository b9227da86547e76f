"""Chooses what a run without Linux's own names can test, and what only a run with them can."""

import systems_own

collect_ignore = ['test_refused.py' if systems_own.removable() else 'test_sample.py']
