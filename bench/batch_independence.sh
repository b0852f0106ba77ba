#!/usr/bin/env bash
# Whether a translation depends on the batch: the demo's held-out sentences in batches of several sizes and orders.
#
#   bench/batch_independence.sh DEMO WORK     DEMO is the folder that `make demo` made: DEMO/run and DEMO/data
#
# Prints, for each way, how many lines differ from the first, and by how much scores and log-probabilities differ.
. "$(dirname "$0")/common.sh"
check_usage 2 "$@"

demo=$1
mkdir -p "$2"
work=$(cd "$2" && pwd)
export OMP_NUM_THREADS=1
print_circumstances
nl -ba -w1 "$demo/data/text/test/held-out.source" >"$work/order-1.tsv"
sort -k 2 "$work/order-1.tsv" >"$work/order-2.tsv"
sort -rn "$work/order-1.tsv" >"$work/order-3.tsv"

# The number of a line goes with it, so that lines can be put back into one order.
translate() {
    local order=$1 tokens=$2
    mtmoe translate "$demo/run" "$work/order-$order.tsv" --format tsv --column 2 --scores \
        --output "$work/translated.tsv" --set "decoding.batch_tokens=$tokens"
    sort -n "$work/translated.tsv" >"$work/order-$order-tokens-$tokens.tsv"
    rm "$work/translated.tsv"
}

compare() {
    paste "$work/order-1-tokens-65536.tsv" "$work/$1.tsv" | awk -F '\t' -v name="$1" '
        function distance(a, b) { return a > b ? a - b : b - a }
        $5 != $10 { num_different++ }
        { score = distance($3, $8); if (score > largest_score) largest_score = score }
        { probability = distance($4, $9); if (probability > largest_probability) largest_probability = probability }
        END { printf "%s: %d lines differ, scores by at most %.1e, log-probabilities by at most %.1e\n",
              name, num_different, largest_score, largest_probability }'
}

for tokens in 65536 1 350 3200; do
    translate 1 "$tokens"
done
for order in 2 3; do
    translate "$order" 65536
    translate "$order" 350
done
for name in order-1-tokens-1 order-1-tokens-350 order-1-tokens-3200 order-2-tokens-65536 order-2-tokens-350 \
    order-3-tokens-65536 order-3-tokens-350; do
    compare "$name"
done
