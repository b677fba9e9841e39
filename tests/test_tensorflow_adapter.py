"""TensorFlow's adapter: how it calls what it has traced."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

SCRIPT = """
import numpy as np
import tensorflow as tf
from bench.frameworks.tensorflow import Traced

double = Traced(lambda x, pairs: {"sum": x + x, "swapped": [(b, a) for a, b in pairs]}, xla=False)
count = double.function.experimental_get_tracing_count
one, two = tf.constant([1.0, 2.0]), tf.constant([[3.0]])
for x in (one, one + 1):
    out = double(x, [(x, two)])
    assert np.array_equal(out["sum"], 2 * x.numpy()) and np.array_equal(out["swapped"][0][0], two), out
assert count() == 1, "the same types were traced again"
out = double(two, [(two, one)])
assert np.array_equal(out["sum"], [[6.0]]) and count() == 2, "another shape was not traced anew"
assert double(tf.constant([7]), [(one, two)])["sum"].dtype == tf.int32, "another dtype was not traced anew"

variable = tf.Variable(1.0)
read = Traced(lambda x: x * variable, xla=True)
assert read(tf.constant(3.0)) == 3.0
variable.assign(2.0)
assert read(tf.constant(3.0)) == 6.0, "a variable was folded into the program"

def broken(x):
    raise TypeError("a mistake of the twin's")

for _ in range(2):
    try:
        Traced(broken, xla=False)(one)
    except TypeError as error:
        assert "a mistake of the twin's" in str(error), error
    else:
        raise AssertionError("a TypeError of the twin was swallowed")
print("right")
"""


@pytest.mark.parametrize("environment", ["tensorflow"])
def test_traced_functions_are_called_as_traced(environment: str, interpreter: Path) -> None:
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [str(interpreter), "-c", SCRIPT]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.strip().endswith("right"), done.stderr[-2000:]
