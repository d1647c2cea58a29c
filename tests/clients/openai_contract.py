"""The real `openai` client against our door. Usage: openai_contract.py http://127.0.0.1:PORT/v1

Every check raises on failure; the last line says how many held.
"""

import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1], api_key="not-needed-on-loopback", max_retries=0)
checks = 0


def check(what, holds):
    global checks
    if not holds:
        raise SystemExit(f"does not hold: {what}")
    checks += 1


def refused(kind, param, call):
    """The call must be refused with this exception; `param` is the parameter that the error names."""
    try:
        call()
    except kind as error:
        if param is not None:
            check(f"the error names {param}, not {error.param}", error.param == param)
        check("the error has a message", bool(error.message))
        check("the error has a code", bool(error.code))
        check("the answer has a request id", bool(error.request_id))
        return
    raise SystemExit(f"{kind.__name__} was expected for {param}")


models = client.models.list().data
check("one model is served", len(models) == 1)
name = models[0].id
check("the model can be asked for", client.models.retrieve(name).id == name)
refused(openai.NotFoundError, None, lambda: client.models.retrieve("no-such-model"))

long_system = "You are the careful archivist of a very long river. " * 20
talk = [{"role": "system", "content": long_system}, {"role": "user", "content": "¿Qué tal, río?"}]


def chat(messages=talk, **options):
    return client.chat.completions.create(
        model=name, messages=messages, **{"max_tokens": 12, "temperature": 0, **options})


first = chat()
check("one choice", len(first.choices) == 1)
check("an assistant answers", first.choices[0].message.role == "assistant")
check("finished for a reason", first.choices[0].finish_reason in ("stop", "length"))
check("usage adds up", first.usage.total_tokens == first.usage.prompt_tokens + first.usage.completion_tokens)
check("nothing was cached at first", first.usage.prompt_tokens_details.cached_tokens == 0)

other = chat(talk[:1] + [{"role": "user", "content": "And the other bank?"}])
cached = other.usage.prompt_tokens_details.cached_tokens
check(f"the system prompt is reused ({cached} tokens)", cached >= 512)
check("never the whole prompt", cached < other.usage.prompt_tokens)

again = chat()
check("the same request is answered the same", again.choices[0].message.content == first.choices[0].message.content)

text, finish, usage = "", None, None
for chunk in chat(stream=True, stream_options={"include_usage": True}):
    if chunk.choices:
        text += chunk.choices[0].delta.content or ""
        finish = chunk.choices[0].finish_reason or finish
    usage = chunk.usage or usage
check("the stream says the same", text == first.choices[0].message.content)
check("the stream finishes for the same reason", finish == first.choices[0].finish_reason)
check("the stream ends with the usage", usage is not None and usage.total_tokens == first.usage.total_tokens)

seeded = [chat(temperature=0.9, seed=7).choices[0].message.content for _ in range(2)]
check("a seed fixes the answer", seeded[0] == seeded[1])

plain = client.completions.create(model=name, prompt="Once upon a time", max_tokens=8, temperature=0)
check("completions answer", plain.object == "text_completion" and plain.usage.completion_tokens <= 8)
stopped = client.completions.create(
    model=name, prompt="Once upon a time", max_tokens=8, temperature=0, stop=[plain.choices[0].text[:2]])
check("stop text is not emitted", plain.choices[0].text[:2] not in stopped.choices[0].text)
check("it says that it stopped", stopped.choices[0].finish_reason == "stop")

refused(openai.NotFoundError, "model", lambda: client.chat.completions.create(model="no-such", messages=talk))
refused(openai.BadRequestError, "n", lambda: chat(n=2))
refused(openai.BadRequestError, "tools", lambda: chat(
    tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}]))
refused(openai.BadRequestError, "logit_bias", lambda: chat(logit_bias={"5": 10}))
refused(openai.BadRequestError, "response_format", lambda: chat(response_format={"type": "json_object"}))
refused(openai.BadRequestError, "temperature", lambda: chat(temperature=3))
refused(openai.BadRequestError, "messages", lambda: chat(messages=[]))
refused(openai.BadRequestError, "frequency_penalty", lambda: chat(frequency_penalty=0.5))
refused(openai.BadRequestError, "made_up", lambda: chat(extra_body={"made_up": 1}))
refused(openai.BadRequestError, None, lambda: client.completions.create(model=name, prompt="a" * 200_000))

print(f"{checks} checks held")
