"""Train gensim's Word2Vec for `vectors.py`; run by an interpreter that has gensim, which ours need not have.

    python vectors_peer.py SENTENCES.txt OPTIONS.json OUT.npz

A line of the text is a review: numbers of words between spaces. Standard output is JSON with the seconds of training.
"""

import json
import sys
import time

import numpy as np
from gensim import __version__
from gensim.models import Word2Vec


def main(text: str, options: str, out: str) -> None:
    """Build the vocabulary, then measure training alone, and write both matrices with the words of their rows."""
    with open(options, encoding="utf-8") as file:
        given = json.load(file)
    from_file = given.pop("from_file")
    model = Word2Vec(**given)
    with open(text, encoding="utf-8") as file:
        sentences = [line.split() for line in file]
    model.build_vocab(corpus_file=text) if from_file else model.build_vocab(sentences)
    source = {"corpus_file": text, "total_words": model.corpus_total_words} if from_file else {
        "corpus_iterable": sentences}  # fmt: skip
    wall, cpu = time.perf_counter(), time.process_time()
    model.train(**source, total_examples=model.corpus_count, epochs=model.epochs)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    output = model.syn1 if given["hs"] else model.syn1neg
    np.savez(out, words=np.array(model.wv.index_to_key, np.int64), v=model.wv.vectors, u=output)
    print(json.dumps({"wall": wall, "cpu": cpu, "version": __version__}))


if __name__ == "__main__":
    main(*sys.argv[1:])
