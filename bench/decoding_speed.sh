#!/usr/bin/env bash
# Speed of translating test_2016_flickr of Multi30k, 1,000 sentences: sentences/s, latency, BLEU.
#
#   bench/decoding_speed.sh peers WORK      ours and OpenNMT-py 3.5.1 of the same shape, in turn, four rounds
#   bench/decoding_speed.sh settings WORK   settings of the search, with the model that `peers` trained
#   bench/decoding_speed.sh defaults WORK   as installed, and exactly; beam 5 and greedy, one thread; the same model
#   bench/decoding_speed.sh ctranslate2 WORK
#                                           as installed, in turn with CTranslate2 in int8, one thread, five rounds; ours
#                                           after 2,000 steps of `multi30k-en-de`; CT2_MODEL names the converted model's
#                                           folder, with joint.model in it
#   bench/decoding_speed.sh int8 WORK       8 bits against fp32, first 300 sentences, the same model
#   bench/decoding_speed.sh experts WORK    mixture against dense twin, with the models of `bench/multi30k.sh trainings WORK`
#
# Environment: PRECISIONS (default fp32,bf16,bf16-int8; a processor without bf16 takes PRECISIONS=fp32),
# STEPS and TOKENS of our training (default 4000 and 2200; without bf16 the table has 1600 and 1000).
. "$(dirname "$0")/common.sh"
check_usage 2 "$@"

verb=$1
mkdir -p "$2"
work=$(cd "$2" && pwd)
precisions=${PRECISIONS:-fp32,bf16,bf16-int8}
exact=(--set decoding.mode=exact) # not what the run's dev set has found to be fast
fast=("${exact[@]}" --set decoding.beam_size=5 --set decoding.early_stopping=best --set 'decoding.shortlist={}')

train_ours() {
    multi30k_text "$work/text"
    multi30k_files "$work/text"
    mtmoe preprocess multi30k-en-de "$work/data-8k" "${files[@]}" --set subwords.vocabulary_size=8000
    if [ ! -d "$work/run-8k" ]; then
        mtmoe train multi30k-en-de "$work/run-8k" --data "$work/data-8k" "${peer_shape[@]}" \
            --set "training.batch_tokens=${TOKENS:-2200}" --set "training.max_steps=${STEPS:-4000}"
    fi
}

peers() {
    local round
    train_ours
    "$bench_dir/opennmt.sh" train "$work" 2000
    for round in 1 2 3 4; do
        heading "round $round: OpenNMT-py"
        "$bench_dir/opennmt.sh" translate "$work" 5
        heading "round $round: mtmoe"
        mtmoe bench translate "$work/run-8k" --rounds 1 --single 50 "${fast[@]}" \
            --vary "decoding.precision=$precisions" --vary decoding.beam_margin=1.5,1.0
    done
}

settings() {
    heading "as the recipe says, beam 5"
    mtmoe bench translate "$work/run-8k" --rounds 2 "${exact[@]}" --set decoding.beam_size=5 --vary "decoding.precision=$precisions"
    heading "margins"
    mtmoe bench translate "$work/run-8k" --rounds 2 "${fast[@]}" --set "decoding.precision=${precisions##*,}" \
        --vary decoding.beam_margin=0.8,1.0,1.5,2.0
    heading "greedy"
    mtmoe bench translate "$work/run-8k" --rounds 2 "${exact[@]}" --set decoding.beam_size=1 \
        --vary "decoding.precision=${precisions%,bf16-int8}" --vary 'decoding.shortlist=false,{}'
}

defaults() {
    [ -f "$work/run-8k/fast_decoding.json" ] || mtmoe tune-decoding "$work/run-8k" --data "$work/data-8k"
    mtmoe bench translate "$work/run-8k" --threads 1 --rounds 5 --single 100 \
        --vary decoding.beam_size=5,1 --vary decoding.mode=fast,exact
}

ctranslate2() {
    local round beam peer=$work/ctranslate2
    : "${CT2_MODEL:?name the folder of a model that was converted for CTranslate2}"
    multi30k_text "$work/text"
    multi30k_files "$work/text"
    [ -d "$work/run-2000" ] || mtmoe train multi30k-en-de "$work/run-2000" "${files[@]}" \
        --set training.max_steps=2000
    if [ ! -d "$peer" ]; then
        python3 -m venv "$peer"
        "$peer/bin/python" -m pip install --quiet ctranslate2 sentencepiece sacrebleu==2.6.0
    fi
    for round in 1 2 3 4 5; do
        for beam in 5 1; do
            heading "round $round, beam $beam"
            "$peer/bin/python" "$bench_dir/ctranslate2_speed.py" "$CT2_MODEL" "$CT2_MODEL/joint.model" \
                "$work/text/test_2016_flickr.en" "$work/text/test_2016_flickr.de" "$beam"
            mtmoe bench translate "$work/run-2000" --threads 1 --rounds 1 --single 100 \
                --set "decoding.beam_size=$beam"
        done
    done
}

int8() {
    multi30k_text "$work/text"
    head -n 300 "$work/text/test_2016_flickr.en" >"$work/first-300.en"
    head -n 300 "$work/text/test_2016_flickr.de" >"$work/first-300.de"
    mtmoe bench translate "$work/run-8k" --rounds 3 --source "$work/first-300.en" --reference "$work/first-300.de" \
        "${exact[@]}" --set decoding.beam_size=5 --set decoding.early_stopping=best --set decoding.beam_margin=1.0 \
        --vary decoding.precision=fp32,int8
}

experts() {
    local round run
    for round in 1 2; do
        for run in mixture dense; do
            heading "round $round: $run"
            mtmoe bench translate "$work/$run" --rounds 1 "${exact[@]}" --set decoding.beam_size=5 \
                --vary "decoding.precision=${precisions%,bf16-int8}"
        done
    done
}

case $verb in
peers | settings | defaults | ctranslate2 | int8 | experts)
    print_circumstances
    "$verb"
    ;;
*)
    wrong_usage
    ;;
esac
