"""Do the parts of the store's work: publish a result, note its uses, remove it."""
