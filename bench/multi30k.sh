#!/usr/bin/env bash
# Multi30k English-German: the mixture of experts and its dense twin of equal operations, one core each, side by side.
#
#   bench/multi30k.sh trainings WORK [SEED]    10,000 steps of both; BLEU, chrF2, perplexity (about an hour in bf16)
#   bench/multi30k.sh rounded-weights WORK     1,500 steps with experts' weights in bf16 and in fp32
. "$(dirname "$0")/common.sh"
check_usage 2 "$@"

verb=$1
mkdir -p "$2"
work=$(cd "$2" && pwd)
export OMP_NUM_THREADS=1

prepare() {
    multi30k_text "$work/text"
    multi30k_files "$work/text"
    mtmoe preprocess multi30k-en-de "$work/data" "${files[@]}"
}

trainings() {
    local seed=$1 first run
    mtmoe train multi30k-en-de "$work/mixture" --data "$work/data" --set "seed=$seed" >"$work/mixture.log" 2>&1 &
    first=$!
    mtmoe train multi30k-en-de-dense "$work/dense" --data "$work/data" --set "seed=$seed" >"$work/dense.log" 2>&1
    wait "$first"

    heading "test set, the recipe's search"
    mtmoe bleu "$work/mixture" "$work/dense"
    heading "test set, greedy"
    mtmoe bleu "$work/mixture" "$work/dense" --set decoding.beam_size=1
    heading "dev set, the recipe's search"
    mtmoe bleu "$work/mixture" "$work/dense" --source "$work/text/val.en" --reference "$work/text/val.de"
    for run in mixture dense; do
        heading "perplexity per subword on the test set: $run"
        mtmoe score "$work/$run" "$work/text/test_2016_flickr.en" "$work/text/test_2016_flickr.de" >/dev/null
        heading "dev loss and speed: $run"
        tail -n 12 "$work/$run.log"
    done
}

rounded_weights() {
    local weights
    for weights in bf16 fp32; do
        heading "training.expert_weights = $weights"
        mtmoe train multi30k-en-de "$work/weights-$weights" --data "$work/data" --set training.max_steps=1500 \
            --set model.moe.num_experts=16 --set model.moe.experts_per_token=4 --set model.moe.expert_hidden=256 \
            --set training.expert_optimizer=factored-adam --set "training.expert_weights=$weights"
    done
}

case $verb in
trainings)
    print_circumstances
    prepare
    trainings "${3:-1}"
    ;;
rounded-weights)
    print_circumstances
    prepare
    rounded_weights
    ;;
*)
    wrong_usage
    ;;
esac
