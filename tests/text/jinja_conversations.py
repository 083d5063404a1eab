"""Conversations that every template of the tests is rendered with."""

SPECIAL = {"bos_token": "<|bos|>", "eos_token": "<|eos|>", "documents": None}
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "Weather of a city <b>\"now\"</b>", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "description": "Grüße & ciao"}, "days": {"type": "integer", "minimum": -1, "default": 1.0}},
    "required": ["city"]}}}
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Zürich", "days": 2, "metric": True, "more": [1, None, {"x": 0.5}]}}}
CALL_TEXT = {"id": "c2", "type": "function", "function": {"name": "clock", "arguments": "{\"zone\": \"UTC\"}"}}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def system(text):
    return {"role": "system", "content": text}


def message_lists():
    yield [user("Hi")], None
    yield [system("Be brief."), user("What is 1 + 1?")], None
    yield [user("a"), assistant("b"), user("c"), assistant("d"), user("e")], None
    yield [system("One."), system("Two."), user("  spaces \n\n"), assistant("<think>\nhm\n</think>\n\nanswer"), user("Grüße, 世界 🙂 \"quoted\" 'x' <tag> {{ no }}")], None
    yield [user("a"), assistant("thought", reasoning_content="because"), user("b"), assistant("last", reasoning_content="again")], None
    yield [user("Weather?")], [WEATHER, CLOCK]
    yield [system("Tools!"), user("Weather?"), assistant(None, tool_calls=[CALL]), {"role": "tool", "content": "12°", "tool_call_id": "c1"}], [WEATHER]
    yield [user("W?"), assistant("", tool_calls=[CALL]), {"role": "tool", "content": "{\"t\": 3}"}, assistant("It is 3."), user("thanks")], [WEATHER]
    yield [user("Two"), assistant("calling", tool_calls=[CALL, CALL_TEXT]), {"role": "tool", "content": "r1"}, {"role": "tool", "content": "r2"}, assistant("done")], [WEATHER, CLOCK]
    yield [user("Text args"), assistant("x", tool_calls=[CALL_TEXT]), {"role": "tool", "content": "noon"}], [CLOCK]
    yield [assistant("I begin")], None
    yield [user("a"), user("b")], None
    yield [], None
    yield [{"role": "user"}], None
    yield [{"role": "user", "content": None}], None
    yield [user([{"type": "text", "text": "part"}, {"type": "image"}])], None
    yield [{"role": "developer", "content": "rules"}, user("x"), assistant("y", prefix=True)], None
    yield [user("x"), {"role": "narrator", "content": "once"}, assistant("half", prefix=True)], None
    yield [user("x"), assistant("", tool_calls=[])], []


def conversations():
    for messages, tools in message_lists():
        for prompt in (True, False):
            yield {"messages": messages, "tools": tools, "add_generation_prompt": prompt, **SPECIAL}
        yield {"messages": messages, "tools": tools, "add_generation_prompt": True, "thinking": True, "enable_thinking": False, **SPECIAL}
    base = {"messages": [system("S"), user("Q"), assistant("A", reasoning_content="R"), user("Q2")], "tools": None, "add_generation_prompt": True}
    yield {**base, **SPECIAL, "thinking": True, "reasoning_effort": "high"}
    yield {**base, **SPECIAL, "thinking": True, "reasoning_effort": "max", "drop_thinking": False}
    yield {**base, **SPECIAL, "enable_thinking": True}
    yield {**base, **SPECIAL, "documents": [{"title": "T", "text": "body"}, {"text": "no title"}]}
    yield {**base, **SPECIAL, "tools": [WEATHER], "tools_in_user_message": False, "builtin_tools": ["brave_search", "code_interpreter"]}
    yield {**base, "documents": None}
