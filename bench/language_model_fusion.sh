#!/usr/bin/env bash
# The demo's search with a language model of the same French text: BLEU on dev and test, by weight.
#
#   bench/language_model_fusion.sh DEMO WORK     DEMO is the folder that `make demo` made: DEMO/run and DEMO/data
. "$(dirname "$0")/common.sh"
check_usage 2 "$@"

demo=$1
mkdir -p "$2"
work=$(cd "$2" && pwd)
print_circumstances
if [ ! -d "$work/lm" ]; then
    mtmoe train demo-lm "$work/lm" --subwords-of "$demo/run" --set model.tied_embeddings=none
fi

translate_both() {
    local name=$1
    shift
    mtmoe translate "$demo/run" "$demo/data/text/valid.source" --output "$work/$name.valid.fr" "$@"
    mtmoe translate "$demo/run" "$demo/data/text/test/held-out.source" --output "$work/$name.test.fr" "$@"
}

translate_both without
names=(without)
for weight in 0.05 0.1 0.2; do
    translate_both "fused-$weight" --lm "$work/lm" --lm-weight "$weight"
    translate_both "reranked-$weight" --rerank-lm "$work/lm" --set "decoding.reranking.language_model_weight=$weight"
    names+=("fused-$weight" "reranked-$weight")
done
for part in valid test; do
    heading "$part"
    hypotheses=()
    for name in "${names[@]}"; do
        hypotheses+=(--hypothesis "$work/$name.$part.fr")
    done
    reference=$demo/data/text/valid.target
    if [ "$part" = test ]; then
        reference=$demo/data/text/test/held-out.target
    fi
    mtmoe bleu "${hypotheses[@]}" --reference "$reference" --languages en-fr
done
