#!/usr/bin/env bash
# Minimum Bayes risk against the usual choice: BLEU, chrF2 and CPU-seconds of beams and of samples.
#
#   bench/minimum_bayes_risk.sh DEMO WORK     DEMO is the folder that `make demo` made: DEMO/run and DEMO/data
#
# Translates the first 500 held-out sentences. Times include loading the model.
. "$(dirname "$0")/common.sh"
check_usage 2 "$@"

demo=$1
mkdir -p "$2"
work=$(cd "$2" && pwd)
export OMP_NUM_THREADS=1 TIMEFORMAT='%U CPU-seconds'
print_circumstances
for side in source target; do
    cat "$demo"/data/text/test/*."$side" | sed -n 1,500p >"$work/lines.$side"
done

measure() {
    heading "${*:-the defaults}"
    rm -f "$work/translated.txt"
    { time mtmoe translate "$demo/run" "$work/lines.source" --output "$work/translated.txt" --device cpu "$@" \
        2>"$work/messages"; } 2>"$work/seconds"
    cat "$work/seconds"
    mtmoe bleu --hypothesis "$work/translated.txt" --reference "$work/lines.target"
}

risk=decoding.minimum_bayes_risk
for beam in 5 12 24; do
    measure --beam $beam
done
measure --beam 12 --set $risk.utility=chrf
measure --beam 24 --set $risk.utility=chrf
measure --beam 24 --set $risk.utility=bleu
measure --beam 24 --set $risk.utility=chrf --set $risk.weight_temperature=3.0
for candidates in 16 64; do
    measure --beam 1 --set decoding.sampling.seed=1 --set $risk.candidates=$candidates
done
for temperature in 0.7 0.5; do
    measure --beam 1 --set decoding.sampling.seed=1 --set $risk.candidates=64 \
        --set decoding.sampling.temperature=$temperature
done
