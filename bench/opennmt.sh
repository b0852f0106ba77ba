#!/usr/bin/env bash
# OpenNMT-py 3.5.1 on Multi30k English-German, in a virtual environment of its own: the peer of our speed tables.
#
#   bench/opennmt.sh setup WORK              make the environment, the text and 8,000 joint subwords under WORK/opennmt
#   bench/opennmt.sh train WORK [STEPS]      train (default 2000 steps); prints target tokens/s each 40 steps
#   bench/opennmt.sh translate WORK [BEAM]   translate test_2016_flickr (default beam 5); prints seconds and BLEU
#
# The model: bidirectional encoder and decoder with 2 LSTM layers each, width 256, general attention with input feed,
# shared embeddings, dropout 0.3, label smoothing 0.1, 1,024 tokens a batch, Adam at 0.001.
# The package asks for torch < 2.3 and works with torch 2.13, so it is installed without its requirements, and these
# are installed one by one.
. "$(dirname "$0")/common.sh"
check_usage 2 "$@"

verb=$1
mkdir -p "$2"
work=$(cd "$2" && pwd)
home=$work/opennmt
peer_python=$home/venv/bin/python

setup() {
    multi30k_text "$work/text"
    if [ -s "$home/complete" ]; then
        return
    fi
    mkdir -p "$home"
    python3 -m venv "$home/venv"
    "$peer_python" -m pip install --quiet torch==2.13.0 'numpy<2.3' wheel
    "$peer_python" -m pip install --quiet --no-deps opennmt-py==3.5.1
    "$peer_python" -m pip install --quiet configargparse ctranslate2 fasttext-wheel flask pyahocorasick pyonmttok pyyaml \
        rapidfuzz sacrebleu==2.6.0 sentencepiece six spacy tensorboard waitress
    "$peer_python" - "$work/text" "$home" <<'PYTHON'
import pathlib
import sys

import sentencepiece

text, home = map(pathlib.Path, sys.argv[1:])
training_files = [str(text / f"train.{language}") for language in ("en", "de")]
sentencepiece.SentencePieceTrainer.train(
    input=training_files, model_prefix=str(home / "subwords"), vocab_size=8000, character_coverage=1.0
)
subwords = sentencepiece.SentencePieceProcessor(model_file=str(home / "subwords.model"))
# The first three are SentencePiece's own <unk>, <s> and </s>; OpenNMT-py adds its own. It wants a count for each word.
words = [subwords.id_to_piece(number) for number in range(3, len(subwords))]
(home / "vocabulary.txt").write_text("".join(f"{word}\t1\n" for word in words), encoding="utf-8")
for path in sorted(text.glob("*.??")):
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    encoded = [" ".join(subwords.encode(line.strip(), out_type=str)) + "\n" for line in lines]
    (home / path.name).write_text("".join(encoded), encoding="utf-8")
PYTHON
    echo yes >"$home/complete"
}

write_settings() {
    local num_steps=$1
    cat >"$home/train.yaml" <<YAML
# text and vocabulary
data:
  train: {path_src: $home/train.en, path_tgt: $home/train.de}
  valid: {path_src: $home/val.en, path_tgt: $home/val.de}
save_data: $home/unused
src_vocab: $home/vocabulary.txt
tgt_vocab: $home/vocabulary.txt
share_vocab: true
overwrite: true
# model
encoder_type: brnn
decoder_type: rnn
rnn_type: LSTM
enc_layers: 2
dec_layers: 2
word_vec_size: 256
hidden_size: 256
global_attention: general
input_feed: 1
share_embeddings: true
share_decoder_embeddings: true
dropout: [0.3]
# training
optim: adam
learning_rate: 0.001
label_smoothing: 0.1
batch_type: tokens
batch_size: 1024
normalization: tokens
bucket_size: 29000
num_workers: 0
train_steps: $num_steps
valid_steps: 480
report_every: 40
save_model: $home/model
save_checkpoint_steps: $num_steps
YAML
}

print_peer_versions() {
    "$peer_python" -c '
from importlib.metadata import version
for name in ("OpenNMT-py", "torch", "sacrebleu", "sentencepiece"):
    print(f"{name}: {version(name)}")'
}

train() {
    write_settings "$1"
    "$home/venv/bin/onmt_train" -config "$home/train.yaml" 2>&1 | { grep -E 'Step|Validation|ppl' || true; }
}

translate() {
    local beam=$1 model
    model=$(find "$home" -maxdepth 1 -name 'model_step_*.pt' -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2-)
    if [ -z "$model" ]; then
        echo "there is no model in $home: run 'bench/opennmt.sh train $work' first" >&2
        exit 1
    fi
    # OpenNMT-py unpickles its checkpoints. This one was made here, a moment ago; never do this with another's file.
    TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 "$home/venv/bin/onmt_translate" -model "$model" \
        -src "$home/test_2016_flickr.en" -output "$home/translations" -beam_size "$beam" -max_length 80 \
        -batch_type tokens -batch_size 2048 -report_time 2>&1 | tail -n 3
    "$peer_python" - "$home" "$work/text/test_2016_flickr.de" <<'PYTHON'
import pathlib
import sys

import sacrebleu
import sentencepiece

home, reference = map(pathlib.Path, sys.argv[1:])
subwords = sentencepiece.SentencePieceProcessor(model_file=str(home / "subwords.model"))
lines = (home / "translations").read_text(encoding="utf-8").split("\n")[:-1]
texts = [subwords.decode(line.split()) for line in lines]
bleu = sacrebleu.BLEU()
print(bleu.corpus_score(texts, [reference.read_text(encoding="utf-8").split("\n")[:-1]]), bleu.get_signature())
PYTHON
}

case $verb in
setup)
    setup
    print_peer_versions
    ;;
train)
    setup
    print_circumstances
    print_peer_versions
    train "${3:-2000}"
    ;;
translate)
    print_peer_versions
    translate "${3:-5}"
    ;;
*)
    wrong_usage
    ;;
esac
