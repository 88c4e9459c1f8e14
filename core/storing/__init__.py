"""Publish, find, share and remove results, and record their uses: the parts of the store."""
