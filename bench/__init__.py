"""twinbench's harness: plan, run, record, store, compare, report.

The data walks one way: cli -> plan -> run -> (worker) -> record -> store -> stats/compare -> report.
Nothing in this package imports a framework, except the adapters in ``bench.frameworks``, which do so only inside a
worker process. ``bench.worker`` and all it imports need the standard library, NumPy and one framework.
"""

__version__ = "0.1.0"
