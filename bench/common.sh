# What the scripts of this folder share. It is sourced by them and does nothing by itself.
#
# Environment:
#   MTMOE_BIN   folder with the commands mtmoe, python and torchrun (default: .venv/bin of the repository)
#   MULTI30K    folder with {train,val,test_2016_flickr}.{en,de}, plain or .xz (default: fetched from the Hugging Face hub)
set -euo pipefail

bench_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root_dir=$(dirname "$bench_dir")
export PATH="${MTMOE_BIN:-$root_dir/.venv/bin}:$PATH"

# The usage text of a script is the comment at its top.
usage() {
    sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"
}

# Answer --help, and refuse fewer words than the script needs: check_usage NUM_NEEDED "$@".
check_usage() {
    local num_needed=$1
    shift
    case ${1:-} in
    -h | --help)
        usage
        exit 0
        ;;
    esac
    if [ $# -lt "$num_needed" ]; then
        wrong_usage
    fi
    command -v mtmoe >/dev/null || {
        echo "there is no mtmoe command: run 'make install' first, or set MTMOE_BIN" >&2
        exit 1
    }
}

wrong_usage() {
    usage >&2
    exit 2
}

# Print what a figure needs beside it: date, commit, hardware and versions.
print_circumstances() {
    echo "date: $(date -u +%Y-%m-%d)"
    echo "commit: $(git -C "$root_dir" describe --always --dirty 2>/dev/null || echo 'not recorded')"
    echo "processor: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1), $(nproc) cores"
    if command -v nvidia-smi >/dev/null; then
        echo "GPU: $(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -n 1)"
    fi
    python -c 'import torch; print("torch:", torch.__version__)'
    echo "load before: $(cut -d ' ' -f 1-3 /proc/loadavg 2>/dev/null)"
}

# Print a heading, so that the output of a long script can be read.
heading() {
    printf '\n== %s ==\n' "$*"
}

# Write Multi30k's text into a folder, one sentence a line: multi30k_text FOLDER.
multi30k_text() {
    local folder=$1 part language
    mkdir -p "$folder"
    if [ -s "$folder/complete" ]; then
        return
    fi
    if [ -n "${MULTI30K:-}" ]; then
        for part in train val test_2016_flickr; do
            for language in en de; do
                if [ -f "$MULTI30K/$part.$language" ]; then
                    cp "$MULTI30K/$part.$language" "$folder/$part.$language"
                else
                    xz -dc "$MULTI30K/$part.$language.xz" >"$folder/$part.$language"
                fi
            done
        done
    else
        python - "$folder" <<'PYTHON'
import pathlib
import sys

import datasets

folder = pathlib.Path(sys.argv[1])
for name, split in {"train": "train", "val": "validation", "test_2016_flickr": "test"}.items():
    pairs = datasets.load_dataset("bentrevett/multi30k", split=split)
    for language in ("en", "de"):
        lines = [" ".join(text.splitlines()) + "\n" for text in pairs[language]]
        (folder / f"{name}.{language}").write_text("".join(lines), encoding="utf-8")
PYTHON
    fi
    echo yes >"$folder/complete"
}

# Options for `mtmoe preprocess` and `train` that give it these files: multi30k_files FOLDER sets the array `files`.
multi30k_files() {
    local folder=$1
    files=(
        --train "$folder/train.en" "$folder/train.de"
        --valid "$folder/val.en" "$folder/val.de"
        --test "$folder/test_2016_flickr.en" "$folder/test_2016_flickr.de"
    )
}

# The shape that OpenNMT-py is known for: dense, width 256, 2 + 2 LSTM layers, 8,000 joint subwords, tied embeddings.
peer_shape=(
    --set subwords.vocabulary_size=8000
    --set model.moe=false
    --set 'model.encoder_moe_after=[]'
    --set 'model.decoder_moe_after=[]'
    --set model.encoder_bottom=concatenate
    --set model.output_attention=false
    --set model.tied_embeddings=all
    --set model.dropout=0.3
    --set training.ema=false
)
