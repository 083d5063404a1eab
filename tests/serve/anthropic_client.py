#!/usr/bin/env python3
"""The `anthropic` package against `fathom serve` with the default model: one row a check, `ok NAME` or `FAIL NAME: why`.

usage: anthropic_client.py PROGRAM
"""
import sys

import anthropic

from running_server import RunningServer

MESSAGES = [{"role": "user", "content": "What is the capital of France? One word."}]
GREEDY = {"temperature": 0}  # the package knows of it no more
TOOLS = [{"name": "get_weather", "description": "Get the weather of a city", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}]


def check_messages(client, model):
    answer = client.messages.create(model=model, max_tokens=12, messages=MESSAGES, extra_body=GREEDY)
    assert answer.type == "message" and answer.role == "assistant" and answer.model == model and answer.id.startswith("msg_")
    assert [block.type for block in answer.content] == ["text"] and "Paris" in answer.content[0].text
    assert answer.stop_reason == "end_turn" and answer.stop_sequence is None and answer.usage.output_tokens > 1
    cut = client.messages.create(model=model, max_tokens=2, messages=MESSAGES, extra_body=GREEDY)
    assert cut.stop_reason == "max_tokens" and cut.usage.output_tokens == 2


def check_stream_is_the_message(client, model):
    whole = client.messages.create(model=model, max_tokens=12, messages=MESSAGES, extra_body=GREEDY)
    with client.messages.stream(model=model, max_tokens=12, messages=MESSAGES, extra_body=GREEDY) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text == whole.content[0].text
    assert final.stop_reason == whole.stop_reason and final.usage.output_tokens == whole.usage.output_tokens


def check_events_come_in_order(client, model):
    kinds = [event.type for event in client.messages.create(model=model, max_tokens=6, messages=MESSAGES, extra_body=GREEDY, stream=True)]
    assert kinds[:2] == ["message_start", "content_block_start"] and kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"], kinds
    assert set(kinds[2:-3]) == {"content_block_delta"}, kinds


def check_system_turns_and_blocks(client, model):
    turns = [{"role": "user", "content": [{"type": "text", "text": "My name is "}, {"type": "text", "text": "Ada."}]},
             {"role": "assistant", "content": [{"type": "text", "text": "Hello Ada."}]}, {"role": "user", "content": "What is my name?"}]
    answer = client.messages.create(model=model, max_tokens=20, messages=turns, system=[{"type": "text", "text": "Answer briefly."}], extra_body=GREEDY)
    assert answer.content[0].text
    more = client.messages.count_tokens(model=model, messages=turns, system="Answer briefly.").input_tokens
    assert more == answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0)


def check_count_tokens(client, model):
    count = client.messages.count_tokens(model=model, messages=MESSAGES).input_tokens
    usage = client.messages.create(model=model, max_tokens=1, messages=MESSAGES).usage
    assert count == usage.input_tokens + (usage.cache_read_input_tokens or 0)
    assert client.messages.count_tokens(model=model, messages=MESSAGES, tools=TOOLS).input_tokens >= count


def check_stop_sequences(client, model):
    answer = client.messages.create(model=model, max_tokens=20, messages=MESSAGES, extra_body=GREEDY, stop_sequences=["Paris"])
    assert answer.stop_reason == "stop_sequence" and answer.stop_sequence == "Paris"
    assert "Paris" not in "".join(block.text for block in answer.content)


def check_tools_and_their_results(client, model):
    # The model is too small to call a tool by itself: what is checked is that tools, a call of an earlier turn and its result are taken.
    turns = [{"role": "user", "content": "How is the weather in Oslo?"},
             {"role": "assistant", "content": [{"type": "text", "text": "Let me see."}, {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Oslo"}}]},
             {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "12 degrees"}]}]}]
    answer = client.messages.create(model=model, max_tokens=16, messages=turns, tools=TOOLS, tool_choice={"type": "auto"}, extra_body=GREEDY)
    assert answer.stop_reason in ("end_turn", "max_tokens", "tool_use") and answer.usage.output_tokens > 0


def check_errors(client, model):
    for fields, kind in (({"extra_body": {"temperature": 9}}, anthropic.BadRequestError), ({"model": "other"}, anthropic.NotFoundError), ({"messages": []}, anthropic.BadRequestError),
                         ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}}]}]}, anthropic.BadRequestError),
                         ({"max_tokens": 0}, anthropic.BadRequestError)):
        try:
            client.messages.create(**{"model": model, "max_tokens": 4, "messages": MESSAGES, **fields})
            raise AssertionError(f"{fields} was taken")
        except kind as error:
            assert error.body["type"] == "error" and error.body["error"]["type"] and error.body["error"]["message"], error.body
    try:
        client.with_options(api_key="wrong").messages.create(model=model, max_tokens=4, messages=MESSAGES)
        raise AssertionError("a wrong key was taken")
    except anthropic.AuthenticationError:
        pass


def check_left_stream(client, model):
    with client.messages.create(model=model, max_tokens=2000, messages=MESSAGES, stream=True, extra_body={"ignore_eos": True}) as stream:
        next(iter(stream))


def main():
    failed = 0
    with RunningServer(sys.argv[1], "--api-key", "right") as server:
        client = anthropic.Anthropic(base_url=server.url, api_key="right", timeout=300, max_retries=0)
        for name, check in sorted(globals().items()):
            if not name.startswith("check_"):
                continue
            try:
                check(client, server.model)
                print(f"ok   anthropic {name[6:]}", flush=True)
            except Exception as error:  # noqa: BLE001: every failure is a row
                failed += 1
                print(f"FAIL anthropic {name[6:]}: {type(error).__name__} {error}", flush=True)
        code = server.stop()
    if code != 0:
        failed += 1
        print(f"FAIL anthropic exit: {code}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
