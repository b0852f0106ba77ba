#!/usr/bin/env bash
# English to French and to German in one model: BLEU and chrF2 of demo-three on its held-out sentences.
#
#   bench/three_languages.sh WORK
#
# WORK must have deu-eng.zip of https://www.manythings.org/anki (CC-BY 2.0 FR), which nobody may fetch by program. It grows
# with time, so that a file of today gives other figures than the table has.
. "$(dirname "$0")/common.sh"
check_usage 1 "$@"

mkdir -p "$1"
cd "$1"
if [ ! -f deu-eng.zip ]; then
    echo "there is no deu-eng.zip in $PWD; get it from https://www.manythings.org/anki" >&2
    exit 1
fi
print_circumstances
export OMP_NUM_THREADS=1
mtmoe train demo-three run
mtmoe bleu run
