"""Make the built-in base `builtin:tiny`: `python -m tools.build_tiny components/base/tiny`.

A Qwen3 decoder of 1.7 M parameters and its byte-level BPE, both learned from the training split
of `builtin:cldr` in about a quarter of an hour on one core. It is small, but has the trouble that
real bases have, so that a search over it finds something:

- its tokenizer spends few tokens on zh and ar, more on en, and many on ko, de, gu and pa, because
  of how much of each language it has seen (TOKENIZER_SHARES);
- frozen, it aligns en, zh, ar and de (a contrastive loss over mean-pooled states), and does not
  align ko, gu and pa, which it knows from a language-model loss only.

The same seed gives the same tokenizer, and the same weights up to the order of float sums.
"""

import argparse
import itertools
import math
import os
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

from search.data.cldr import LANGUAGES, phrases

# Shapes: B phrases, L tokens of the longest of them, T real tokens, D width, V vocabulary.

ALIGNED = ("en", "zh", "ar", "de")
TOKENIZER_SHARES = {"en": 1.0, "zh": 2.8, "ar": 3.9, "ko": 0.18, "gu": 0.018, "pa": 0.02}
"""How many times the BPE reads TOKENIZER_ROWS phrases of each language; German it never reads."""
TOKENIZER_ROWS = 8_000
VOCABULARY = 4096
MAX_LENGTH = 256
TRAINING_ROWS = 60_000
BATCH = 64  # phrases a step, each in all of ALIGNED
LANGUAGE_MODEL_BATCH = 6  # phrases a step and language under the language-model loss
LANGUAGE_MODEL_WEIGHT = 0.2
TEMPERATURE = 0.05
LEARNING_RATE = 3e-3
CHUNK = 32  # phrases of similar length that run through the model together


def learn_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """The byte-level BPE, with `<pad>` as its id 0. Pieces never cross a space."""
    columns = phrases("train", TOKENIZER_ROWS, seed, tuple(TOKENIZER_SHARES))

    def texts() -> Iterator[str]:
        for language, share in TOKENIZER_SHARES.items():
            yield from itertools.islice(
                itertools.cycle(columns[language]), round(share * TOKENIZER_ROWS)
            )

    tokenizer = Tokenizer(models.BPE())
    # Splitting at spaces only lets pieces hold punctuation and digits with letters, as in
    # "Tuesday," and 日星期二; with a split at each change of script, zh could not fall below en.
    words = pre_tokenizers.Split(Regex(r" ?[^\s]+"), "isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        model_max_length=MAX_LENGTH,
        padding_side="right",
    )


def untrained(pad_id: int, eos_id: int) -> Qwen3Model:
    """The decoder with random weights drawn from torch's global generator."""
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        pad_token_id=pad_id,
        bos_token_id=None,
        eos_token_id=eos_id,
        initializer_range=0.05,
    )
    return Qwen3Model(config)


def _states(model: Qwen3Model, rows: Sequence[list[int]]) -> Iterator[tuple[list[int], Tensor]]:
    """Last states of the rows, in chunks of similar length: indices into rows, states_BLD."""
    by_length = sorted(range(len(rows)), key=lambda i: (len(rows[i]), i))
    for start in range(0, len(rows), CHUNK):
        chosen = by_length[start : start + CHUNK]
        longest = len(rows[chosen[-1]])
        # Padding stands on the right, where a causal model never looks: no mask is needed.
        ids_BL = torch.tensor([rows[i] + [0] * (longest - len(rows[i])) for i in chosen])
        yield chosen, model(input_ids=ids_BL, use_cache=False).last_hidden_state


def step_losses(
    model: Qwen3Model, aligned: dict[str, list[list[int]]], plain: Sequence[list[int]]
) -> tuple[Tensor, Tensor]:
    """Contrastive loss over every pair of aligned languages, and language-model loss, in nats.

    `aligned` holds token ids of the same B phrases by language; `plain` any phrases. The
    language-model head is the transposed input embedding, so nothing of it outlives training.
    """
    size = len(next(iter(aligned.values())))
    rows = [*itertools.chain.from_iterable(aligned.values()), *plain]
    first_plain = len(aligned) * size
    pooled: list[Tensor | None] = [None] * first_plain
    predicted: list[Tensor] = []
    targets: list[int] = []
    for chosen, states_BLD in _states(model, rows):
        for position, index in enumerate(chosen):
            states_TD = states_BLD[position, : len(rows[index])]
            if index < first_plain:
                pooled[index] = states_TD.mean(dim=0)
            else:
                predicted.append(states_TD[:-1])
                targets.extend(rows[index][1:])
    emb_BD = F.normalize(torch.stack([each for each in pooled if each is not None]), dim=-1)
    views = torch.split(emb_BD, size)
    same = torch.arange(size)
    pairs = list(itertools.permutations(views, 2))
    contrastive = torch.stack([F.cross_entropy(a @ b.T / TEMPERATURE, same) for a, b in pairs])
    logits_TV = torch.cat(predicted) @ model.embed_tokens.weight.T
    return contrastive.mean(), F.cross_entropy(logits_TV, torch.tensor(targets))


def train(
    model: Qwen3Model,
    tokenizer: PreTrainedTokenizerFast,
    steps: int,
    seed: int,
    say: Callable[[str], None] = print,
) -> None:
    """Train in place, with AdamW, a linear warm-up and a cosine decay to zero."""
    columns = phrases("train", TRAINING_ROWS, seed)
    ids: dict[str, list[list[int]]] = {
        language: tokenizer(texts, truncation=True)["input_ids"]
        for language, texts in columns.items()
    }
    rng = random.Random(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    warm_up = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda s: min((s + 1) / warm_up, 0.5 * (1 + math.cos(math.pi * min(1.0, s / steps)))),
    )
    model.train()
    for step in range(steps):
        chosen = rng.sample(range(TRAINING_ROWS), BATCH)
        aligned = {language: [ids[language][i] for i in chosen] for language in ALIGNED}
        plain = [
            ids[language][rng.randrange(TRAINING_ROWS)]
            for language in LANGUAGES
            for _ in range(LANGUAGE_MODEL_BATCH)
        ]
        contrastive, language_model = step_losses(model, aligned, plain)
        optimizer.zero_grad()
        torch.autograd.backward(contrastive + LANGUAGE_MODEL_WEIGHT * language_model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == steps - 1:
            say(
                f"step {step + 1} of {steps}: contrastive {contrastive.item():.3f}, "
                f"language model {language_model.item():.3f}"
            )
    model.train(False)


def save(model: Qwen3Model, tokenizer: PreTrainedTokenizerFast, output: Path) -> None:
    """Write both into the folder; a reader sees each file old or new, never half of it."""
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as name:
        model.save_pretrained(name)
        tokenizer.save_pretrained(name)
        for path in Path(name).iterdir():
            os.replace(path, output / path.name)


def build(output: Path, seed: int, steps: int) -> None:
    """Learn the tokenizer, train the decoder, save both."""
    torch.set_num_threads(1)  # small matrices: more threads cost more than they give
    torch.manual_seed(seed)
    tokenizer = learn_tokenizer(seed)
    model = untrained(tokenizer.pad_token_id, tokenizer.eos_token_id)
    train(model, tokenizer, steps, seed, say=lambda line: print(line, flush=True))
    save(model, tokenizer, output)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.build_tiny", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("output", type=Path, metavar="OUTPUT_DIR")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=700, help="optimizer steps (default 700)")
    arguments = parser.parse_args()
    if arguments.steps < 1:
        parser.error(f"--steps: got {arguments.steps}, must be at least 1")
    if arguments.output.exists() and not arguments.output.is_dir():
        parser.error(f"OUTPUT_DIR: got the file {arguments.output}, must be a folder")
    build(arguments.output, arguments.seed, arguments.steps)


if __name__ == "__main__":
    main()
