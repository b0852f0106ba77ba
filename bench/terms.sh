#!/usr/bin/env bash
# Terms of a rough list, sure and soft: BLEU, and how many of them the translation has.
#
#   bench/terms.sh DEMO WORK     DEMO is the folder that `make demo` made: DEMO/run and DEMO/data
. "$(dirname "$0")/common.sh"
check_usage 2 "$@"

demo=$1
mkdir -p "$2"
work=$(cd "$2" && pwd)
print_circumstances
head -n 1000 "$demo/data/text/test/held-out.source" >"$work/source.en"
head -n 1000 "$demo/data/text/test/held-out.target" >"$work/reference.fr"
python "$bench_dir/rough_terms.py" list "$work/source.en" "$work/reference.fr" >"$work/terms.tsv"

measure() {
    local name=$1
    shift
    heading "$name"
    mtmoe translate "$demo/run" "$work/source.en" --output "$work/$name.fr" --beam 5 "$@"
    mtmoe bleu --hypothesis "$work/$name.fr" --reference "$work/reference.fr" --languages en-fr
    python "$bench_dir/rough_terms.py" count "$work/terms.tsv" "$work/source.en" "$work/reference.fr" "$work/$name.fr"
}

measure without
for probability in 0.05 0.2 0.5 0.9 0.99; do
    measure "soft-$probability" --terms "$work/terms.tsv" --set "decoding.soft_terms=$probability"
done
measure sure --terms "$work/terms.tsv"
