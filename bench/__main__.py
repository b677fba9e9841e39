"""``python -m bench`` is ``twinbench``."""

from bench.cli import main

main()
