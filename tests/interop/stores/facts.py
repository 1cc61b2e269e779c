"""What gguf and safetensors say of model files, and models that gguf makes.

    facts.py say FILE...        a JSON object for each file
    facts.py split FOLDER       a model in three parts, of two types of tensors
    facts.py big FILE           a file with its bytes the other way round
"""

import json
import os
import sys

import numpy
from gguf import GGMLQuantizationType, GGUFEndian, GGUFReader, GGUFWriter


def of_gguf(path):
    reader = GGUFReader(path)

    def value(key):
        field = reader.get_field(key)
        return None if field is None else field.contents()

    architecture = value("general.architecture")
    tokens = reader.get_field("tokenizer.ggml.tokens")
    dtypes = {}
    for tensor in reader.tensors:
        count = dtypes.setdefault(tensor.tensor_type.name, [0, 0])
        count[0] += 1
        count[1] += int(tensor.n_elements)
    return {
        "format": "gguf",
        "architecture": architecture,
        "name": value("general.name"),
        "context_length": value(f"{architecture}.context_length"),
        "embedding_length": value(f"{architecture}.embedding_length"),
        "layers": value(f"{architecture}.block_count"),
        "vocabulary": None if tokens is None else len(tokens.data),
        "tokenizer": value("tokenizer.ggml.model"),
        "chat_template": value("tokenizer.chat_template") is not None,
        "tensors": len(reader.tensors),
        "parameters": sum(int(tensor.n_elements) for tensor in reader.tensors),
        "dtypes": dtypes,
        "needed_bytes": max(int(tensor.data_offset + tensor.n_bytes) for tensor in reader.tensors),
    }


def of_safetensors(path):
    from safetensors import safe_open

    dtypes, parameters = {}, 0
    with safe_open(path, framework="np") as file:
        for name in file.keys():
            tensor = file.get_slice(name)
            values = int(numpy.prod(tensor.get_shape(), dtype=numpy.int64))
            count = dtypes.setdefault(tensor.get_dtype(), [0, 0])
            count[0] += 1
            count[1] += values
            parameters += values
    return {
        "format": "safetensors",
        "tensors": sum(count[0] for count in dtypes.values()),
        "parameters": parameters,
        "dtypes": dtypes,
        "needed_bytes": os.path.getsize(path),
    }


def fill(writer):
    writer.add_context_length(2048)
    writer.add_embedding_length(64)
    writer.add_block_count(6)
    random = numpy.random.default_rng(7)
    for number in range(6):
        writer.add_tensor(f"blk.{number}.weight", random.standard_normal((4, 64), dtype=numpy.float32))
        halves = random.standard_normal((4, 64), dtype=numpy.float32).astype(numpy.float16)
        writer.add_tensor(f"blk.{number}.half", halves, raw_dtype=GGMLQuantizationType.F16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main(verb, *words):
    if verb == "say":
        for path in words:
            say = of_gguf if path.endswith(".gguf") else of_safetensors
            print(json.dumps(say(path)))
    elif verb == "split":
        fill(GGUFWriter(os.path.join(words[0], "made.gguf"), "llama", split_max_tensors=4))
    elif verb == "big":
        fill(GGUFWriter(words[0], "llama", endianess=GGUFEndian.BIG))
    else:
        sys.exit(f"no such verb: {verb}")


main(*sys.argv[1:])
