// The server's endpoints as the page uses them: OpenAI's chat, streamed, and the metrics.

function headers(key) {
  const given = {"Content-Type": "application/json"};
  if (key) given.Authorization = `Bearer ${key}`;
  return given;
}

async function refusal(response) {
  const text = await response.text();
  try {
    return new Error(JSON.parse(text).error.message);
  } catch {
    return new Error(`${response.status} ${text.slice(0, 200)}`);
  }
}

export async function modelName(key) {
  const response = await fetch("/v1/models", {headers: headers(key)});
  if (!response.ok) throw await refusal(response);
  return (await response.json()).data[0].id;
}

// Yields {content, thought} pieces as they come, and at the end {finish, usage}. Throws an Error with the server's own words.
export async function* streamChat(request, key, signal) {
  const body = JSON.stringify({...request, stream: true, stream_options: {include_usage: true}});
  const response = await fetch("/v1/chat/completions", {method: "POST", headers: headers(key), body, signal});
  if (!response.ok) throw await refusal(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", finish = null, usage = null;
  for (;;) {
    const {done, value} = await reader.read();
    if (done) break;
    rest += value;
    const events = rest.split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.split("\n").filter(line => line.startsWith("data: ")).map(line => line.slice(6)).join("\n");
      if (!data || data === "[DONE]") continue;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Error(chunk.error.message);
      usage = chunk.usage ?? usage;
      const choice = chunk.choices?.[0];
      if (!choice) continue;
      finish = choice.finish_reason ?? finish;
      const {content, reasoning_content: thought} = choice.delta ?? {};
      if (content || thought) yield {content: content ?? "", thought: thought ?? ""};
    }
  }
  yield {finish, usage};
}

// Prometheus' text to {name: sum over its labels}.
export async function metrics() {
  const response = await fetch("/metrics");
  if (!response.ok) throw new Error(`/metrics: ${response.status}`);
  const values = {};
  for (const line of (await response.text()).split("\n")) {
    const match = /^([\w:]+)(?:\{.*\})? (\S+)$/.exec(line);
    if (match) values[match[1]] = (values[match[1]] ?? 0) + Number(match[2]);
  }
  return values;
}
