"""Save and open a fitted model as data, with its vocabulary."""
