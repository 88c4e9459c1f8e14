"""Define neural language models, classifiers and taggers in torch, and read text with them."""
