"""Read tokens with a fitted network on the CPU: packed weights, results that do not depend on the batch, int8."""
