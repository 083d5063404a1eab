#!/usr/bin/env python3
"""The `openai` package against `fathom serve` with the default model: one row a check, `ok NAME` or `FAIL NAME: why`.

usage: openai_client.py PROGRAM
"""
import re
import signal
import subprocess
import sys

import openai

MESSAGES = [{"role": "user", "content": "What is the capital of France? One word."}]


def check_models(client, model):
    assert [m.id for m in client.models.list().data] == [model]
    assert client.models.retrieve(model).id == model


def check_chat_is_its_stream(client, model):
    whole = client.chat.completions.create(model=model, messages=MESSAGES, temperature=0, max_tokens=12)
    assert "Paris" in whole.choices[0].message.content and whole.choices[0].finish_reason == "stop"
    text, usage = "", None
    for chunk in client.chat.completions.create(model=model, messages=MESSAGES, temperature=0, max_tokens=12, stream=True,
                                                stream_options={"include_usage": True}):
        text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        usage = chunk.usage or usage
    assert text == whole.choices[0].message.content
    assert usage.completion_tokens == whole.usage.completion_tokens
    assert usage.prompt_tokens_details.cached_tokens == usage.prompt_tokens - 1


def check_samples_and_logprobs(client, model):
    # Of the first answer the prompt is computed as a whole, later it is in the cache: bf16 rounds the two differently.
    _, answer, again = [client.chat.completions.create(model=model, messages=MESSAGES, n=2, seed=5, temperature=0.8, logprobs=True, top_logprobs=3,
                                                       max_tokens=4) for _ in range(3)]
    assert [c.message.content for c in answer.choices] == [c.message.content for c in again.choices]
    entry = answer.choices[1].logprobs.content[0]
    assert len(entry.top_logprobs) == 3 and entry.logprob <= 0 and bytes(entry.bytes).decode() == entry.token


def check_completions(client, model):
    answer = client.completions.create(model=model, prompt=["The sea is", "Once upon"], max_tokens=5, temperature=0, echo=True, logprobs=1)
    assert [c.text.startswith(p) for c, p in zip(answer.choices, ["The sea is", "Once upon"])] == [True, True]
    logprobs = answer.choices[0].logprobs
    assert "".join(logprobs.tokens) == answer.choices[0].text and logprobs.token_logprobs[0] is None


def check_embeddings(client, model):
    texts = ["The cat sat on the mat.", "A cat was sitting on a mat.", "Quarterly revenue grew by nine percent."]
    vectors = [row.embedding for row in client.embeddings.create(model=model, input=texts).data]
    dot = lambda a, b: sum(x * y for x, y in zip(a, b))  # noqa: E731
    assert all(abs(dot(v, v) - 1) < 1e-3 for v in vectors)
    assert dot(vectors[0], vectors[1]) > dot(vectors[0], vectors[2])
    alone = client.embeddings.create(model=model, input=texts[1], encoding_format="float").data[0].embedding
    assert max(abs(x - y) for x, y in zip(alone, vectors[1])) < 1e-6


def check_stop_and_bias(client, model):
    answer = client.chat.completions.create(model=model, messages=MESSAGES, temperature=0, stop=["Paris"])
    assert "Paris" not in answer.choices[0].message.content and answer.choices[0].finish_reason == "stop"
    banned = client.chat.completions.create(model=model, messages=MESSAGES, temperature=0, max_tokens=1, logprobs=True).choices[0].logprobs.content[0]
    token = client.post("/../tokenize", body={"content": banned.token}, cast_to=object)["tokens"][0]
    other = client.chat.completions.create(model=model, messages=MESSAGES, temperature=0, max_tokens=1, logit_bias={str(token): -100})
    assert other.choices[0].message.content != banned.token


def check_errors(client, model):
    for fields, kind in (({"temperature": 9}, openai.BadRequestError), ({"model": "other"}, openai.NotFoundError),
                         ({"messages": []}, openai.BadRequestError)):
        try:
            client.chat.completions.create(**{"model": model, "messages": MESSAGES, **fields})
            raise AssertionError(f"{fields} was taken")
        except kind as error:
            assert error.body["type"] and error.body["message"]
    try:
        client.with_options(api_key="wrong").models.list()
        raise AssertionError("a wrong key was taken")
    except openai.AuthenticationError:
        pass


def check_left_stream(client, model):
    with client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=2000, stream=True, extra_body={"ignore_eos": True}) as stream:
        next(iter(stream))


def main():
    server = subprocess.Popen([sys.argv[1], "serve", "--port", "0", "--api-key", "right", "--access-log", "off"], stdout=subprocess.PIPE, text=True)
    failed = 0
    try:
        line = server.stdout.readline()
        found = re.match(r"(\S+) at (http://\S+):", line)
        model, url = found[1], found[2]
        client = openai.OpenAI(base_url=url + "/v1", api_key="right", timeout=300, max_retries=0)
        for name, check in sorted(globals().items()):
            if not name.startswith("check_"):
                continue
            try:
                check(client, model)
                print(f"ok   openai {name[6:]}", flush=True)
            except Exception as error:  # noqa: BLE001: every failure is a row
                failed += 1
                print(f"FAIL openai {name[6:]}: {type(error).__name__} {error}", flush=True)
    finally:
        server.send_signal(signal.SIGTERM)
        code = server.wait(60)
    if code != 0:
        failed += 1
        print(f"FAIL openai exit: {code}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
