#!/usr/bin/env bash
# What `mtmoe plan` predicts, on any machine, and its memory against a measured step.
#
#   bench/plan.sh predictions    two of the paper's models on 8, 64 and 1,024 H100s
#   bench/plan.sh paper          the paper's own runs, on K40s
#   bench/plan.sh memory         planned and measured memory of steps on this machine
. "$(dirname "$0")/common.sh"
check_usage 1 "$@"

predict() {
    local recipe=$1 num_gpus=$2 batch_tokens=$3
    heading "$recipe, $num_gpus GPUs, $batch_tokens tokens a batch"
    mtmoe plan "$recipe" --gpus "$num_gpus" --gpu h100 --set "training.batch_tokens=$batch_tokens" \
        --set training.gradient_accumulation=1 --efficiency 1
}

predictions() {
    local recipe tokens_of_a_gpu num_gpus
    for recipe in wmt14-en-fr lm100b-moe-4096-h; do
        case $recipe in
        wmt14-en-fr) tokens_of_a_gpu=8000 ;;
        *) tokens_of_a_gpu=40000 ;;
        esac
        for num_gpus in 8 64 1024; do
            predict "$recipe" "$num_gpus" $((tokens_of_a_gpu * num_gpus))
        done
        predict "$recipe" 8 $((tokens_of_a_gpu * 64))
        predict "$recipe" 1024 $((tokens_of_a_gpu * 64))
    done
}

paper() {
    local run
    for run in wmt14-en-fr:64 wmt14-en-de:64 multilingual-12:64 lm100b-moe-4096-h:32 lm100b-moe-16384-h:32 \
        lm100b-moe-65536-h:64 lm100b-moe-131072-h:128 lm1b-moe-4096-h:16 lm1b-moe-143m:32; do
        heading "${run%:*}, ${run#*:} GPUs"
        # The exit status is 1 where a training does not fit, which is an answer here.
        mtmoe plan "${run%:*}" --gpus "${run#*:}" --gpu k40 --efficiency 1 || true
    done
}

memory() {
    local words=(--rows 40 --length 20 --set subwords.vocabulary_size=4000 --set training.sampled_softmax=false
        --set model.width=256 --set model.moe.experts_per_token=2 --set model.moe.expert_hidden=512)
    export OMP_NUM_THREADS=1
    heading "64 experts, Adam"
    mtmoe bench memory wikitext2-moe "${words[@]}" --set model.moe.num_experts=64 --set training.expert_optimizer=adam
    heading "256 experts, factored Adam"
    mtmoe bench memory wikitext2-moe "${words[@]}" --set model.moe.num_experts=256 \
        --set training.expert_optimizer=factored-adam
    heading "a translation model"
    mtmoe bench memory multi30k-en-de --rows 32 --length 15 --set subwords.vocabulary_size=4000
}

case $1 in
predictions | paper | memory)
    print_circumstances
    "$1"
    ;;
*)
    wrong_usage
    ;;
esac
