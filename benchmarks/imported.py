"""The process that benchmarks/process_start.py measures imports in: `python -m benchmarks.imported module...`.

Prints how many seconds the imports took, then stays until its stdin is closed. Imports nothing else, so that its memory
is that of Python and these modules.
"""

import importlib
import sys
import time

begun = time.perf_counter()
for module in sys.argv[1:]:
    importlib.import_module(module)
print(time.perf_counter() - begun, flush=True)
sys.stdin.read()
