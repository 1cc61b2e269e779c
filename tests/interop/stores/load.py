#!/usr/bin/env python3
"""Engines that read a model.

    load.py llamacpp PATH           llama.cpp loads the GGUF and completes a prompt
    load.py transformers REPO       AutoConfig and AutoTokenizer of transformers, by the name of a repository in the cache
    load.py ollama NAME TAG         the blob that RamaLama's own reader of Ollama stores finds for a model
"""
import os
import sys


def llamacpp(path):
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.n_ctx, params.n_parallel, params.warmup = 64, 1, False
    params.model.path = path
    server = xllamacpp.Server(params)
    answer = server.handle_completions({"prompt": "a", "max_tokens": 2})
    print("completed" if answer else "no answer", flush=True)
    # Its threads do not end by themselves.
    os._exit(0 if answer else 1)


def transformers(repo):
    from transformers import AutoConfig, AutoTokenizer

    print(AutoConfig.from_pretrained(repo).model_type, len(AutoTokenizer.from_pretrained(repo)))


def ollama(name, tag):
    import ramalama.transports.ollama as reader

    # Without this, it asks whether the command of Ollama is installed.
    reader.available = lambda _command: True
    print(reader.in_existing_cache("library", name, tag) or "")


VERBS = {"llamacpp": llamacpp, "transformers": transformers, "ollama": ollama}
VERBS[sys.argv[1]](*sys.argv[2:])
