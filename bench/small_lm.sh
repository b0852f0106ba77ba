#!/usr/bin/env bash
# The paper's Table 7 scaled down: perplexity of language models of equal operations with more and more experts.
#
#   bench/small_lm.sh text WORK      put the text together in WORK/small-lm
#   bench/small_lm.sh train WORK     four recipes, seeds 1 to 3; perplexity on dev is in each training's last lines
#   bench/small_lm.sh balance WORK   32 experts without the losses that balance them (Table 6), seed 1
#   bench/small_lm.sh speed WORK     speed of a step with one network, 32 and 256 experts
#
# Environment: TEXT, a folder with wikitext-2/{train,valid,test}.txt.xz, tatoeba-en-de/{train,valid,test}.en.xz and
# po-en-de/natural.en.xz. The second is the English of Tatoeba's English-German pairs (https://www.manythings.org/anki),
# split so that no test sentence has a twin in train; the third is the English of programs' messages (Debian's
# translations), one message a line, which is not published as a file. Other text gives other figures in the same order.
. "$(dirname "$0")/common.sh"
check_usage 2 "$@"

verb=$1
mkdir -p "$2"
cd "$2"

text() {
    local part
    if [ -z "${TEXT:-}" ]; then
        echo "set TEXT to the folder with the text: see --help" >&2
        exit 1
    fi
    mkdir -p small-lm
    for part in valid test; do
        xz -dc "$TEXT/wikitext-2/$part.txt.xz" >"small-lm/wikitext-2.$part.en"
        xz -dc "$TEXT/tatoeba-en-de/$part.en.xz" >"small-lm/tatoeba.$part.en"
    done
    xz -dc "$TEXT/po-en-de/natural.en.xz" >small-lm/programs.en
    awk 'NR % 50 == 25' small-lm/programs.en >small-lm/programs.valid.en
    awk 'NR % 50 == 0' small-lm/programs.en >small-lm/programs.test.en
    xz -dc "$TEXT/wikitext-2/train.txt.xz" "$TEXT/tatoeba-en-de/train.en.xz" >small-lm/ordered.en
    awk 'NR % 50 != 0 && NR % 50 != 25' small-lm/programs.en >>small-lm/ordered.en
    # Any order that mixes the three texts will do; this one is the same each time.
    shuf --random-source=<(yes) small-lm/ordered.en >small-lm/train.en
    rm small-lm/ordered.en small-lm/programs.en
    wc -lw small-lm/*.en
    mtmoe preprocess small-lm-moe-32 small-lm/data
}

train() {
    local seed recipe
    for seed in 1 2 3; do
        for recipe in small-lm-moe-1-wide small-lm-moe-4 small-lm-moe-32 small-lm-moe-256; do
            heading "$recipe, seed $seed"
            mtmoe train "$recipe" "small-lm/$recipe-$seed" --data small-lm/data --set "seed=$seed"
        done
    done
}

balance() {
    mtmoe train small-lm-moe-32 small-lm/unbalanced --data small-lm/data --set seed=1 \
        --set model.moe.importance_loss_weight=0 --set model.moe.load_loss_weight=0
    heading "use of the experts, last lines of metrics.jsonl: without and with the losses"
    tail -n 2 small-lm/unbalanced/metrics.jsonl
    tail -n 2 small-lm/small-lm-moe-32-1/metrics.jsonl
}

speed() {
    local recipe
    for recipe in small-lm-moe-1-wide small-lm-moe-32 small-lm-moe-256; do
        heading "$recipe"
        mtmoe bench train "$recipe" --data small-lm/data
    done
}

case $verb in
text | train | balance | speed)
    print_circumstances
    "$verb"
    ;;
*)
    wrong_usage
    ;;
esac
