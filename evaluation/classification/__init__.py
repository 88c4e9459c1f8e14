"""Judge review classifiers: figures, intervals, comparison of two classifiers, gate and report."""
