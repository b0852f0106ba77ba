#!/usr/bin/env bash
# WikiText-2: perplexity per word of the mixture, its dense twin and an LSTM of equal operations, on dev and test.
#
#   bench/wikitext2.sh WORK     three trainings of 30 epochs, one core each, one after the other (2 to 4 hours)
. "$(dirname "$0")/common.sh"
check_usage 1 "$@"

mkdir -p "$1"
work=$(cd "$1" && pwd)
export OMP_NUM_THREADS=1
print_circumstances
mtmoe preprocess wikitext2-moe "$work/data"
for recipe in wikitext2-moe wikitext2-moe-dense wikitext2-lstm; do
    heading "$recipe"
    mtmoe train "$recipe" "$work/$recipe" --data "$work/data"
    mtmoe score "$work/$recipe" "$work/data/text/test/wikitext-2-test.target" >/dev/null
    mtmoe describe "$recipe"
done
