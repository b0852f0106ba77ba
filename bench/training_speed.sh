#!/usr/bin/env bash
# Training speed against OpenNMT-py 3.5.1, in turn: ours, the other, ours. Target tokens/s.
#
#   bench/training_speed.sh WORK [SECONDS]   each of ours runs for SECONDS (default 20), the other for 200 steps
#
# At the end it measures the same shape with output attention and summed encoder directions, as multi30k-en-de has them.
. "$(dirname "$0")/common.sh"
check_usage 1 "$@"

mkdir -p "$1"
work=$(cd "$1" && pwd)
seconds=${2:-20}

ours() {
    mtmoe bench train multi30k-en-de --data "$work/data-8k" --seconds "$seconds" "${peer_shape[@]}" \
        --set training.batch_tokens=1100 "$@"
}

print_circumstances
multi30k_text "$work/text"
multi30k_files "$work/text"
mtmoe preprocess multi30k-en-de "$work/data-8k" "${files[@]}" --set subwords.vocabulary_size=8000
"$bench_dir/opennmt.sh" setup "$work"

heading "mtmoe, before"
ours
heading "OpenNMT-py"
"$bench_dir/opennmt.sh" train "$work" 200
heading "mtmoe, after"
ours
heading "mtmoe with output attention and summed directions"
ours --set model.output_attention=true --set model.encoder_bottom=sum
