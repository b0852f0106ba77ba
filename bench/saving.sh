#!/usr/bin/env bash
# What saving costs beside training: the times of single steps of a model with 3.3 GB of weights and moments.
#
#   bench/saving.sh WORK     60 steps, saved each 20; the log has a line for each step
. "$(dirname "$0")/common.sh"
check_usage 1 "$@"

mkdir -p "$1"
work=$(cd "$1" && pwd)
print_circumstances
mtmoe preprocess demo "$work/data"
mtmoe train demo "$work/run" --data "$work/data" --set model.moe.num_experts=2048 --set 'model.decoder_moe_after=[]' \
    --set training.max_steps=60 --set training.schedule.warmup_steps=50 --set training.log_every_steps=1 \
    --set training.save_every_steps=20 --set training.ema=false
