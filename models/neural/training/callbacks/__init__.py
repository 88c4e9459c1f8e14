"""React to the moments of a training: evaluate, save, report, go back. The moments are in `callback.py`."""
