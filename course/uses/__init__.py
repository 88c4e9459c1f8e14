"""Show what a language model is for: one use a module, over any registered version or bundle; see docs/uses.md."""
