#!/usr/bin/env bash
# One GPU in bf16: the expert layer, training and translating.
#
#   bench/gpu.sh layer                  the expert layer with 256 and 2,048 experts
#   bench/gpu.sh train WORK TEXT        target tokens/s of a model of GNMT's width with 4 + 4 layers, and of multi30k-en-de;
#                                       then 1,000 steps of the former
#   bench/gpu.sh translate WORK TEXT    sentences/s of that model, with several sizes of batches
#
# TEXT is a folder with {train,valid,test}.{en,de}: enough text for 32,000 subwords. The table's text was Multi30k and
# Tatoeba; the commands of that day were not recorded, and these are what its description says.
. "$(dirname "$0")/common.sh"
check_usage 1 "$@"

verb=$1
shape=(
    --set subwords.vocabulary_size=32000
    --set model.encoder_layers=4
    --set model.decoder_layers=4
    --set training.batch_tokens=8000
    --set training.gradient_accumulation=1
    --set training.precision=bf16
)

layer() {
    mtmoe bench moe --experts 256 --width 512 --hidden 2048 --tokens 65536 --precision bf16
    mtmoe bench moe --experts 2048 --width 512 --hidden 1024 --tokens 65536 --precision bf16
}

train() {
    local work=$1 text=$2
    mtmoe preprocess wmt14-en-de-gnmt "$work/data-32k" --train "$text/train.en" "$text/train.de" \
        --valid "$text/valid.en" "$text/valid.de" --test "$text/test.en" "$text/test.de" "${shape[@]}"
    mtmoe bench train wmt14-en-de-gnmt --data "$work/data-32k" "${shape[@]}"
    mtmoe train wmt14-en-de-gnmt "$work/gnmt" --data "$work/data-32k" "${shape[@]}" --set training.max_steps=1000

    multi30k_text "$work/text"
    multi30k_files "$work/text"
    mtmoe preprocess multi30k-en-de "$work/data" "${files[@]}"
    mtmoe bench train multi30k-en-de --data "$work/data"
}

translate() {
    local work=$1 text=$2
    local source=(--source "$text/test.en" --reference "$text/test.de" --set decoding.precision=bf16)
    mtmoe bench translate "$work/gnmt" --rounds 1 "${source[@]}" --set decoding.beam_size=5 \
        --vary decoding.batch_tokens=20000,80000,250000
    mtmoe bench translate "$work/gnmt" --rounds 1 "${source[@]}" --set decoding.beam_size=1 \
        --set decoding.batch_tokens=64000
}

case $verb in
layer)
    print_circumstances
    layer
    ;;
train | translate)
    if [ $# -lt 3 ]; then
        wrong_usage
    fi
    mkdir -p "$2"
    print_circumstances
    "$verb" "$2" "$3"
    ;;
*)
    wrong_usage
    ;;
esac
