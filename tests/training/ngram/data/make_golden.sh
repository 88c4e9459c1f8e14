#!/bin/sh
# Write the golden files with KenLM's own programs:  sh make_golden.sh FOLDER_WITH_LMPLZ_AND_QUERY [FOLDER_OF_REAL_TEXT]
set -e
cd "$(dirname "$0")"
BIN=$1
REAL=$2
TMP=$(mktemp -d)
LMPLZ="$BIN/lmplz -S 50M --vocab_estimate 1000"

model() { # name, text, order, options: the ARPA file, compressed; a name that never changes keeps the bytes the same
    name=$1 text=$2 order=$3
    shift 3
    $LMPLZ -o "$order" "$@" <"$text.txt" 2>/dev/null | gzip -9n >"$name.$order.arpa.gz"
}
perplexity() { # name, order: what query prints for held_out.txt
    gzip -dc "$1.$2.arpa.gz" >"$TMP/model.arpa"
    "$BIN/query" -v summary "$TMP/model.arpa" <held_out.txt 2>/dev/null | sed -n "/:\t/s/^/$1 $2\t/p"
}
by_word() { # name, order: log10 p of every word and </s> of held_out.txt, the order of the n-gram it was found as
    gzip -dc "$1.$2.arpa.gz" >"$TMP/model.arpa"
    "$BIN/query" -v word "$TMP/model.arpa" <held_out.txt 2>/dev/null | tr '\t' '\n' |
        sed -n 's/^.*=[0-9]* \([0-9]\) \(-.*\)$/\1 \2/p'
}

for order in 1 2 3 4 5; do model train train $order; done
for order in 3 5; do model quirk quirk $order --discount_fallback; done
model tiny tiny 3 --discount_fallback
model short short 5 --discount_fallback
for order in 2 3 4 5; do
    model train_001 train $order --prune $(echo 0 0 1 | cut -d' ' -f-$order)
    model train_012 train $order --prune $(echo 0 1 2 | cut -d' ' -f-$order)
    model train_112 train $order --prune $(echo 1 1 2 | cut -d' ' -f-$order)
done
for order in 3 5; do
    model quirk_001 quirk $order --discount_fallback --prune 0 0 1
    model quirk_112 quirk $order --discount_fallback --prune 1 1 2
done
model tiny_112 tiny 3 --discount_fallback --prune 1 1 2
model train_padded train 3 --vocab_pad 5000
for order in 2 3 5; do model train_limited train $order --limit_vocab_file limited.txt; done
model train_limited_001 train 3 --limit_vocab_file limited.txt --prune 0 0 1
for order in 1 3; do model zero zero $order --discount_fallback; done
model zero_weight zero_weight 3 --discount_fallback
{
    for order in 2 3 4 5; do
        for name in train train_001 train_012 train_112; do perplexity $name $order; done
    done
    for order in 3 5; do
        for name in quirk quirk_001 quirk_112; do perplexity $name $order; done
    done
    perplexity tiny 3
    perplexity tiny_112 3
    perplexity short 5
    perplexity train_padded 3
    for order in 2 3 5; do perplexity train_limited $order; done
    perplexity train_limited_001 3
} >query.tsv
for name in train train_112; do by_word $name 3 | gzip -9n >"$name.3.words.gz"; done
by_word quirk 5 | gzip -9n >"quirk.5.words.gz"

if [ -n "$REAL" ]; then
    # Every tenth sentence is held out; only numbers are kept.
    gzip -dc "$REAL"/shen2017_sentences/*.txt.gz >"$TMP/all.txt"
    awk 'NR % 10 == 0' "$TMP/all.txt" >"$TMP/held_out.txt"
    awk 'NR % 10 != 0' "$TMP/all.txt" >"$TMP/train.txt"
    for order in 2 3 4 5; do
        for prune in 0 "0 0 1" "0 1 2" "1 1 2"; do
            prune=$(echo $prune | cut -d' ' -f-$order)
            "$BIN/lmplz" -o $order -S 1G --prune $prune <"$TMP/train.txt" >"$TMP/model.arpa" 2>/dev/null
            sed -n "s/^ngram \([0-9]\)=/$order\t$prune\tngrams \1\t/p" "$TMP/model.arpa"
            "$BIN/query" -v summary "$TMP/model.arpa" <"$TMP/held_out.txt" 2>/dev/null |
                sed -n "/:\t/s/^/$order\t$prune\t/p"
        done
    done >real_text.tsv
fi
rm -r "$TMP"
