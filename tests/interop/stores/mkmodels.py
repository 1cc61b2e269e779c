#!/usr/bin/env python3
"""Small real models, as the repositories of a Hub (tests/servers/hub.py --root OUT). Every run makes the same bytes.

    mkmodels.py OUT FIXTURE

OUT/tiny/llama        FIXTURE, a GGUF that llama.cpp loads; the same model in three parts; a projector
OUT/tiny/llama@v1     an earlier version: no parts, another README.md
OUT/tiny/bert         a model of sentence-transformers with a tokenizer and a folder in it
OUT/tiny/bert@v1      the same weights with another README.md
OUT/tiny/sharded      the same weights in two files, with their index
OUT/tiny/wide         24 MB of random weights in one safetensors file
OUT/tiny/wide-gguf    24 MB of random weights in one GGUF
"""
import json
import shutil
import sys
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import save_file

RANDOM = np.random.default_rng(7)
HIDDEN, WORDS, INNER, PARTS = 32, 100, 64, 3
README = "---\nlicense: apache-2.0\nlanguage:\n- en\nlibrary_name: sentence-transformers\n---\n# tiny\n"
ATTRIBUTES = "*.safetensors filter=lfs diff=lfs merge=lfs -text\n*.gguf filter=lfs diff=lfs merge=lfs -text\n"


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write(folder, texts):
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if isinstance(text, str) else json.dumps(text, indent=2))


def split(whole, folder):
    """As llama-gguf-split does: only the first part has the keys of the model."""
    reader = gguf.GGUFReader(str(whole))
    architecture = bytes(reader.fields["general.architecture"].parts[-1]).decode()
    count = -(-len(reader.tensors) // PARTS)
    folder.mkdir(parents=True)
    for part in range(PARTS):
        writer = gguf.GGUFWriter(folder / f"tiny-{part + 1:05d}-of-{PARTS:05d}.gguf", architecture)
        for field in reader.fields.values() if part == 0 else []:
            if field.name.startswith("GGUF.") or field.name == "general.architecture":
                continue
            inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)
        writer.add_uint16("split.no", part)
        writer.add_uint16("split.count", PARTS)
        writer.add_int32("split.tensors.count", len(reader.tensors))
        for tensor in reader.tensors[part * count:(part + 1) * count]:
            is_plain = tensor.tensor_type in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16)
            shape = None if is_plain else tensor.data.shape
            writer.add_tensor(tensor.name, tensor.data, raw_shape=shape, raw_dtype=tensor.tensor_type)
        finish(writer)


def projector(path):
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_uint32("clip.vision.image_size", 32)
    writer.add_tensor("mm.0.weight", np.ones((8, 8), np.float16))
    finish(writer)


def llama(out, fixture):
    old, new = out / "llama@v1", out / "llama"
    for folder in (old, new):
        write(folder, {"README.md": README, ".gitattributes": ATTRIBUTES})
        shutil.copyfile(fixture, folder / "tiny.Q8_0.gguf")
        projector(folder / "mmproj-tiny-F16.gguf")
    write(new, {"README.md": README + "The second version.\n"})
    split(new / "tiny.Q8_0.gguf", new / "split")


def bert_weights():
    def some(*shape):
        return RANDOM.standard_normal(shape).astype(np.float32) * 0.02

    def zeros(size):
        return np.zeros(size, np.float32)

    layer = "encoder.layer.0."
    tensors = {
        "embeddings.word_embeddings.weight": some(WORDS, HIDDEN),
        "embeddings.position_embeddings.weight": some(64, HIDDEN),
        "embeddings.token_type_embeddings.weight": some(2, HIDDEN),
        "embeddings.LayerNorm.weight": np.ones(HIDDEN, np.float32),
        "embeddings.LayerNorm.bias": zeros(HIDDEN),
        layer + "intermediate.dense.weight": some(INNER, HIDDEN),
        layer + "intermediate.dense.bias": zeros(INNER),
        layer + "output.dense.weight": some(HIDDEN, INNER),
        layer + "output.dense.bias": zeros(HIDDEN),
        "pooler.dense.weight": some(HIDDEN, HIDDEN),
        "pooler.dense.bias": zeros(HIDDEN),
    }
    for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
        tensors[f"{layer}{name}.weight"] = some(HIDDEN, HIDDEN)
        tensors[f"{layer}{name}.bias"] = zeros(HIDDEN)
    for name in ("attention.output.LayerNorm", "output.LayerNorm"):
        tensors[f"{layer}{name}.weight"] = np.ones(HIDDEN, np.float32)
        tensors[f"{layer}{name}.bias"] = zeros(HIDDEN)
    return tensors


def bert_texts():
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [chr(97 + i % 26) + str(i) for i in range(WORDS - 5)]
    return {
        "README.md": README,
        ".gitattributes": ATTRIBUTES,
        "config.json": {
            "architectures": ["BertModel"], "model_type": "bert", "hidden_size": HIDDEN, "num_hidden_layers": 1,
            "num_attention_heads": 2, "intermediate_size": INNER, "vocab_size": WORDS, "hidden_act": "gelu",
            "max_position_embeddings": 64, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0,
        },
        "vocab.txt": "\n".join(words) + "\n",
        "tokenizer_config.json": {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 64},
    }


def bert(out):
    tensors, texts = bert_weights(), bert_texts()
    module = "sentence_transformers.models."
    folders = {
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": module + "Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": module + "Pooling"},
        ],
        "1_Pooling/config.json": {"word_embedding_dimension": HIDDEN, "pooling_mode_mean_tokens": True},
    }
    for folder, readme in (("bert", README), ("bert@v1", README + "The first version.\n")):
        write(out / folder, {**texts, **folders, "README.md": readme})
        save_file(tensors, out / folder / "model.safetensors", metadata={"format": "pt"})

    write(out / "sharded", texts)
    names, places = sorted(tensors), {}
    half = len(names) // 2
    for number, part in enumerate((names[:half], names[half:])):
        file = f"model-{number + 1:05d}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, out / "sharded" / file, metadata={"format": "pt"})
        places.update({name: file for name in part})
    size = sum(tensor.nbytes for tensor in tensors.values())
    write(out / "sharded", {"model.safetensors.index.json": {"metadata": {"total_size": size}, "weight_map": places}})


def wide(out):
    weights = RANDOM.standard_normal((1500, 4000)).astype(np.float32)
    write(out / "wide", bert_texts())
    save_file({"wide.weight": weights}, out / "wide" / "model.safetensors", metadata={"format": "pt"})
    write(out / "wide-gguf", {"README.md": README, ".gitattributes": ATTRIBUTES})
    writer = gguf.GGUFWriter(out / "wide-gguf" / "wide.F32.gguf", "llama")
    writer.add_tensor("token_embd.weight", weights[::-1].copy())
    finish(writer)


def main():
    out, fixture = Path(sys.argv[1]) / "tiny", Path(sys.argv[2])
    llama(out, fixture)
    bert(out)
    wide(out)


main()
