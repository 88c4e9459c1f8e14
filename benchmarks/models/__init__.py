"""Measure n-gram models beside KenLM, mixtures, and word vectors beside gensim."""
