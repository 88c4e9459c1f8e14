"""Code that teaches and no stage uses: BPTT by hand, a character RNN in NumPy, gradient flow, toy tasks."""
