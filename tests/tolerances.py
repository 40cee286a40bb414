"""How close floats must be, written once, with the reason."""

OP = 1e-6
"""One float32 operation."""

STEP = 1e-5
"""One optimizer step in float32."""

TRAINED = 1e-3
"""Two implementations after a training."""
