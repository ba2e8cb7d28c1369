"""A tiny random ELMo, and a slow plain reading of it that shares no code with ours."""

from pathlib import Path

import torch

from bert_spacy.nn.elmo import ElmoConfig, ElmoEncoder

# Clips are so tight that they show.
TINY = ElmoConfig(
    character_width=4,
    max_characters=30,
    filters=[(1, 5), (2, 6), (3, 7)],
    activation="relu",
    n_highway=2,
    n_layers=2,
    cell_width=9,
    projection_width=8,
    cell_clip=0.3,
    projection_clip=0.15,
    use_skip_connections=True,
)


def make_elmo(folder: Path, config: ElmoConfig = TINY) -> Path:
    """Save a random ELMo in a folder."""
    torch.manual_seed(3)
    encoder = ElmoEncoder(config)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    folder.mkdir(parents=True, exist_ok=True)
    encoder.save(folder)
    return folder


def spell(word: str, most: int) -> list[int]:
    """Return the character ids of one word."""
    if word in ("<S>", "</S>"):
        inner = [256 if word == "<S>" else 257]
    else:
        inner = list(word.encode("utf-8"))[: most - 2]
    ids = [258, *inner, 259]
    return [x + 1 for x in ids + [260] * (most - len(ids))]


def plain_elmo(
    encoder: ElmoEncoder, words: list[str], state: dict | None = None
) -> list[list[torch.Tensor]]:
    """Return each layer's vector of each word of one text, its marks included.

    `state` maps (layer, direction) to output and cell; it is used and renewed in place.
    """
    config, weights = encoder.config, {k: v.detach() for k, v in encoder.state_dict().items()}
    state = {} if state is None else state
    inputs = [_plain_word(config, weights, w) for w in ["<S>", *words, "</S>"]]
    layers = [[torch.cat([x, x]) for x in inputs]]
    directions = [inputs, inputs]
    for i in range(config.n_layers):
        outputs = []
        for d in (0, 1):
            w = {
                name: weights[f"layers.{i}.{name}"][d]
                for name in ("input_weight", "output_weight", "bias", "projection")
            }
            out, cell = state.get(
                (i, d), (torch.zeros(config.projection_width), torch.zeros(config.cell_width))
            )
            found = [None] * len(inputs)
            places = range(len(inputs)) if d == 0 else reversed(range(len(inputs)))
            for t in places:
                z = directions[d][t] @ w["input_weight"] + out @ w["output_weight"] + w["bias"][0]
                a, g, f, o = z.view(4, -1)
                cell = f.sigmoid() * cell + a.sigmoid() * g.tanh()
                if config.cell_clip:
                    cell = cell.clip(-config.cell_clip, config.cell_clip)
                out = (o.sigmoid() * cell.tanh()) @ w["projection"]
                if config.projection_clip:
                    out = out.clip(-config.projection_clip, config.projection_clip)
                found[t] = out
            state[i, d] = (out, cell)
            if i and config.use_skip_connections:
                found = [x + y for x, y in zip(found, directions[d])]
            outputs.append(found)
        layers.append([torch.cat(pair) for pair in zip(*outputs)])
        directions = outputs
    return layers


def plain_mix(encoder: ElmoEncoder, layers: list[list[torch.Tensor]]) -> torch.Tensor:
    """Return the mixed vectors of one text, its marks included."""
    shares = encoder.mix.weights.detach().exp()
    shares = shares / shares.sum()
    total = sum(share * torch.stack(layer) for share, layer in zip(shares, layers))
    return encoder.mix.gamma.detach() * total


def _plain_word(config: ElmoConfig, weights: dict, word: str) -> torch.Tensor:
    letters = [
        weights["embeddings.characters.weight"][x] for x in spell(word, config.max_characters)
    ]
    parts = []
    for i, (width, _) in enumerate(config.filters):
        kernel, bias = (weights[f"embeddings.filters.{i}.{name}"] for name in ("weight", "bias"))
        scores = [
            sum(kernel[:, :, j] @ letters[at + j] for j in range(width)) + bias
            for at in range(len(letters) - width + 1)
        ]
        best = torch.stack(scores).max(dim=0).values
        parts.append(best.relu() if config.activation == "relu" else best.tanh())
    vector = torch.cat(parts)
    for i in range(config.n_highway):
        weight, bias = (weights[f"embeddings.highway.{i}.{name}"] for name in ("weight", "bias"))
        new, carry = (weight @ vector + bias).view(2, -1)
        share = carry.sigmoid()
        vector = share * new.relu() + (1 - share) * vector
    return weights["embeddings.projection.weight"] @ vector + weights["embeddings.projection.bias"]
