#!/usr/bin/env python3
"""Speed and BLEU of CTranslate2 with a converted model, for one line of a table.

    ctranslate2_speed.py MODEL SUBWORDS SOURCE REFERENCE BEAM [int8|float32]

MODEL is a folder of CTranslate2's, SUBWORDS the SentencePiece model that its text is encoded with. One thread. Prints
sentences/s, CPU seconds a thousand sentences, BLEU, and p50 and p95 of single sentences. `bench/decoding_speed.sh
ctranslate2` makes the environment that it needs: ctranslate2, sentencepiece, sacrebleu.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

SINGLE_SENTENCES = 100


def main() -> None:
    """Translate a file once after warming up, then single sentences."""
    if len(sys.argv) < 6 or sys.argv[1] in ("-h", "--help"):
        is_help = sys.argv[1:2] in (["-h"], ["--help"])
        print(__doc__, file=sys.stdout if is_help else sys.stderr)
        sys.exit(0 if is_help else 2)
    import ctranslate2
    import sacrebleu
    import sentencepiece

    model, subwords, source, reference = sys.argv[1:5]
    beam, kind = int(sys.argv[5]), sys.argv[6] if len(sys.argv) > 6 else "int8"
    pieces = sentencepiece.SentencePieceProcessor(model_file=subwords)
    lines = Path(source).read_text(encoding="utf-8").split("\n")[:-1]
    references = Path(reference).read_text(encoding="utf-8").split("\n")[:-1]
    translator = ctranslate2.Translator(model, device="cpu", intra_threads=1, inter_threads=1, compute_type=kind)
    options = {"beam_size": beam, "max_decoding_length": 80, "length_penalty": 1.0}
    translator.translate_batch([pieces.encode(line, out_type=str) for line in lines[:64]], **options)
    began, cpu = time.perf_counter(), time.process_time()
    encoded = [pieces.encode(line, out_type=str) for line in lines]
    found = translator.translate_batch(encoded, max_batch_size=4096, batch_type="tokens", **options)
    texts = ["".join(one.hypotheses[0]).replace("▁", " ").strip() for one in found]
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    singles = []
    for line in lines[:SINGLE_SENTENCES]:
        begun = time.perf_counter()
        translator.translate_batch([pieces.encode(line, out_type=str)], **options)
        singles.append(1000 * (time.perf_counter() - begun))
    percentiles = statistics.quantiles(singles, n=20)
    print(
        f"ctranslate2 {ctranslate2.__version__} {kind}, beam {beam}: {len(lines) / seconds:.0f} sentences/s, "
        f"{1000 * cpu / len(lines):.2f} CPU s a 1,000, BLEU {sacrebleu.corpus_bleu(texts, [references]).score:.2f}, "
        f"one sentence p50 {percentiles[9]:.1f} ms, p95 {percentiles[18]:.1f} ms"
    )


if __name__ == "__main__":
    main()
