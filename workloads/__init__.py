"""One folder per workload: its spec in ``__init__.py`` and one twin per framework."""
