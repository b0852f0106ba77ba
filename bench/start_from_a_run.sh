#!/usr/bin/env bash
# What a training gains from the weights of another run. The steps are those of 15 minutes (1,800) and of 5 minutes (600
# with batches of 1,000 tokens) on two cores of a Zen 3 in fp32: counted in steps, a busy machine gives the same figures.
#
#   bench/start_from_a_run.sh fine-tuning WORK TEXT        a model of everyday sentences learns 5,000 software texts
#   bench/start_from_a_run.sh child WORK TEXT PARENT       5,000 pairs of another language, from PARENT and from nothing
#   bench/start_from_a_run.sh upcycling WORK TEXT          a dense model goes on, as it is and as a mixture of experts
#
# TEXT has tatoeba-en-de/{train,valid,test}.{en,de}.xz and po-en-de/natural.{en,de}.xz. PARENT is a run of the recipe
# demo (English-French). Of the software texts, 5,000 pairs are trained on, 500 are a dev set and 1,000 a test set, no
# sentence of which is in the rest.
#
# Environment, of the second trainings:
#   SEED            (default: 1)
#   MINUTES_SHARE   per cent of the steps, of the first trainings too (default: 100)
#   RATE, REPLAY, DROPOUT   of fine-tuning: learning rate, data.replay.weight and dropout (default: 5e-4, 0.05, 0.1)
#   VOCABULARY      of fine-tuning: training.start.vocabulary, which adds 2,500 subwords less those that are there
#                   where it is "extended" (default: same)
#   MOST_LOST       of fine-tuning: training.start.interpolation.most_lost_bleu (default: nothing is interpolated)
#   EXPERTS         of upcycling: experts of a token (default: 1)
. "$(dirname "$0")/common.sh"
check_usage 3 "$@"

verb=$1
text=$(cd "$3" && pwd)
seed=${SEED:-1}
share=${MINUTES_SHARE:-100}
if [ "$verb" = child ]; then
    [ $# -ge 4 ] || wrong_usage
    parent=$(cd "$4" && pwd)
fi
mkdir -p "$2"
cd "$2"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

# Make the files old.PART.LANGUAGE (Tatoeba), few.train.LANGUAGE (5,000 pairs of them) and new.PART.LANGUAGE (software).
divide_text() {
    local part language
    for part in train valid test; do
        for language in en de; do
            xz -dc "$text/tatoeba-en-de/$part.$language.xz" >"old.$part.$language"
        done
    done
    xz -dc "$text/po-en-de/natural.en.xz" >natural.en
    xz -dc "$text/po-en-de/natural.de.xz" >natural.de
    python - <<'PYTHON'
import random
from pathlib import Path


def pairs_of(name):
    return list(zip(*(Path(f"{name}.{code}").read_bytes().decode().split("\n")[:-1] for code in ("en", "de")), strict=True))


def write(name, pairs):
    for place, code in enumerate(("en", "de")):
        Path(f"{name}.{code}").write_text("".join(f"{pair[place]}\n" for pair in pairs), encoding="utf-8")


pairs = [p for p in dict.fromkeys(pairs_of("natural")) if p[0].strip() and p[1].strip() and p[0] != p[1]]
pairs = [pair for pair in pairs if len(pair[0]) < 200]
random.Random(1).shuffle(pairs)
held_out = {" ".join(side.lower().split()) for pair in pairs[:1500] for side in pair}
rest = [p for p in pairs[1500:] if not held_out & {" ".join(side.lower().split()) for side in p}]
write("few.train", random.Random(1).sample(pairs_of("old.train"), 5000))
for part, chosen in (("test", pairs[:1000]), ("valid", pairs[1000:1500]), ("train", rest[:5000])):
    write(f"new.{part}", chosen)
PYTHON
}

# Options for a training of so many steps of 1,000 tokens, or twice as many of 500: steps STEPS BATCH_TOKENS.
steps() {
    local num=$(($1 * 1000 / $2 * share / 100))
    options=(
        --set "seed=$seed" --set data.target_language=de
        --set "training.batch_tokens=$2" --set "training.max_steps=$num"
        --set "training.validation.every_steps=$((num / 4))" --set "training.save_every_steps=$((num / 4))"
        --set "training.schedule.warmup_steps=$((num / 12))"
        --set training.validation.translate_sentences=200
    )
}

old_files=(--train old.train.en old.train.de --valid old.valid.en old.valid.de --test old.test.en old.test.de)
new_files=(--train new.train.en new.train.de --valid new.valid.en new.valid.de --test new.test.en new.test.de)
few_files=(--train few.train.en few.train.de --valid old.valid.en old.valid.de --test old.test.en old.test.de)

# The run of everyday sentences, of recipe demo or demo-dense: base RECIPE RUN.
base() {
    [ -d data/old ] || mtmoe preprocess demo data/old --set data.target_language=de "${old_files[@]}"
    (
        seed=1
        steps 1800 1000
        [ -d "$2" ] || mtmoe train "$1" "$2" --data data/old "${options[@]}"
    )
}

fine_tuning() {
    local replay=(--set data.replay.data_dir=data/old --set "data.replay.weight=${REPLAY:-0.05}") kind
    base demo runs/base
    steps 600 500
    options+=(--set "model.dropout=${DROPOUT:-0.1}" --set "training.learning_rate=${RATE:-5e-4}")
    [ "${VOCABULARY:-same}" = same ] ||
        options+=(--set "training.start.vocabulary=$VOCABULARY" --set subwords.vocabulary_size=2500)
    [ -z "${MOST_LOST:-}" ] || options+=(--set "training.start.interpolation.most_lost_bleu=$MOST_LOST")
    mtmoe train demo "runs/mixed-$seed" --from runs/base "${new_files[@]}" "${options[@]}" "${replay[@]}"
    for kind in new old; do
        heading "$kind text"
        mtmoe bleu runs/base "runs/mixed-$seed" --source "$kind.test.en" --reference "$kind.test.de"
    done
}

child() {
    steps 600 500
    options+=(--set subwords.vocabulary_size=2500 --set model.dropout=0.3 "${few_files[@]}")
    mtmoe train demo "runs/child-$seed" --from "$parent" --set training.start.vocabulary=extended "${options[@]}"
    mtmoe train demo "runs/scratch-$seed" "${options[@]}"
    heading "everyday sentences"
    mtmoe bleu "runs/child-$seed" "runs/scratch-$seed" --source old.test.en --reference old.test.de
}

upcycling() {
    base demo-dense runs/dense
    steps 600 1000
    options+=(--set training.learning_rate=1.5e-3)
    mtmoe train demo-dense "runs/denser-$seed" --from runs/dense --data data/old "${options[@]}"
    mtmoe train demo "runs/upcycled-$seed" --from runs/dense --data data/old "${options[@]}" \
        --set "model.moe.experts_per_token=${EXPERTS:-1}" --set model.moe.expert_hidden=512
    heading "everyday sentences"
    mtmoe bleu runs/dense "runs/denser-$seed" "runs/upcycled-$seed" --source old.test.en --reference old.test.de
}

case $verb in
fine-tuning | child | upcycling)
    print_circumstances
    [ -s new.train.de ] && [ -s few.train.de ] || divide_text
    "${verb//-/_}"
    ;;
*) wrong_usage ;;
esac
