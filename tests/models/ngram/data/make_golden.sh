#!/bin/sh
# Write the golden files with KenLM's own programs:  sh make_golden.sh FOLDER_WITH_LMPLZ_AND_QUERY
set -e
cd "$(dirname "$0")"
model() { # text order [option]: the ARPA file, compressed; a name that never changes keeps the bytes the same
    "$BIN/lmplz" -o "$2" $3 -S 50M --vocab_estimate 1000 <"$1.txt" 2>/dev/null | gzip -9n >"$1.$2.arpa.gz"
}
perplexity() { # text order: what query prints for held_out.txt
    gzip -dc "$1.$2.arpa.gz" >"$TMP/model.arpa"
    "$BIN/query" -v summary "$TMP/model.arpa" <held_out.txt 2>/dev/null | sed -n "/:\t/s/^/$1 $2\t/p"
}
BIN=$1
TMP=$(mktemp -d)
for order in 1 2 3 4 5; do model train $order; done
for order in 3 5; do model quirk $order --discount_fallback; done
model tiny 3 --discount_fallback
model short 5 --discount_fallback
{
    for order in 2 3 4 5; do perplexity train $order; done
    for order in 3 5; do perplexity quirk $order; done
    perplexity tiny 3
    perplexity short 5
} >query.tsv
rm -r "$TMP"
