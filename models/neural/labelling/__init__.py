"""Label whole sequences (classification) or single positions (tagging).

"Sequence labelling" in the sense of Graves 2012, "Supervised Sequence Labelling with Recurrent Neural Networks": one
recurrent trunk, read from the beginning or from both ends, under one head. `docs/concepts/other_models/labelling.md`
shows its use. Nothing is imported here, so that `specs.py` can be read without torch.
"""
