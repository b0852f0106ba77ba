#!/usr/bin/env bash
# Fine-tuning: a model of everyday sentences goes on with 5,000 pairs of software texts, with and without its old text.
#
#   bench/start_from_a_run.sh WORK TEXT
#
# TEXT has tatoeba-en-de/{train,valid,test}.{en,de}.xz and po-en-de/natural.{en,de}.xz. Of the second, 5,000 pairs are
# trained on, 500 are a dev set and 1,000 a test set, no sentence of which is in the rest.
# The network is smaller than the demo's, and trainings are counted in steps, so that a busy machine gives the same
# figures. SEED (default: 1) is that of every training.
. "$(dirname "$0")/common.sh"
check_usage 2 "$@"

work=$1
text=$(cd "$2" && pwd)
seed=${SEED:-1}
mkdir -p "$work"
cd "$work"
print_circumstances
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

# Make the files old.PART.LANGUAGE (Tatoeba) and new.PART.LANGUAGE (5,000 pairs of software texts).
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

sides = [Path(f"natural.{language}").read_bytes().decode().split("\n")[:-1] for language in ("en", "de")]
pairs = [p for p in dict.fromkeys(zip(*sides, strict=True)) if p[0].strip() and p[1].strip() and p[0] != p[1]]
pairs = [pair for pair in pairs if len(pair[0]) < 200]
random.Random(1).shuffle(pairs)
held_out = {" ".join(side.lower().split()) for pair in pairs[:1500] for side in pair}
rest = [p for p in pairs[1500:] if not held_out & {" ".join(side.lower().split()) for side in p}]
for part, chosen in (("test", pairs[:1000]), ("valid", pairs[1000:1500]), ("train", rest[:5000])):
    for place, language in enumerate(("en", "de")):
        Path(f"new.{part}.{language}").write_text("".join(f"{p[place]}\n" for p in chosen), encoding="utf-8")
PYTHON
}

old_files=(--train old.train.en old.train.de --valid old.valid.en old.valid.de --test old.test.en old.test.de)
new_files=(--train new.train.en new.train.de --valid new.valid.en new.valid.de --test new.test.en new.test.de)
shape=(
    --set "seed=$seed"
    --set data.target_language=de
    --set model.width=128
    --set model.moe.num_experts=8
    --set model.moe.expert_hidden=128
    --set training.validation.translate_sentences=200
)
first=(--set training.max_steps=700 --set training.validation.every_steps=350 --set training.schedule.warmup_steps=100)
small=(
    --set training.max_steps=1000
    --set training.validation.every_steps=250
    --set training.schedule.warmup_steps=50
    --set model.dropout=0.3
)

[ -s new.train.de ] || divide_text
[ -d data/old ] || mtmoe preprocess demo data/old --set data.target_language=de "${old_files[@]}"

replay=(--set data.replay.data_dir=data/old --set data.replay.weight=0.03)
[ -d runs/base ] || mtmoe train demo runs/base --data data/old "${shape[@]}" "${first[@]}"
mtmoe train demo runs/tuned --from runs/base "${new_files[@]}" "${shape[@]}" "${small[@]}"
mtmoe train demo runs/mixed --from runs/base "${new_files[@]}" "${shape[@]}" "${small[@]}" "${replay[@]}"
mtmoe train demo runs/gentle --from runs/base "${new_files[@]}" "${shape[@]}" "${small[@]}" "${replay[@]}" \
    --set training.learning_rate=5e-4
for kind in new old; do
    heading "$kind text"
    mtmoe bleu runs/base runs/tuned runs/mixed runs/gentle --source "$kind.test.en" --reference "$kind.test.de"
done
