// The page's conversation: what is shown, and what each control does.
import {modelName, streamChat} from "/page/api.js";
import {markdown} from "/page/markdown.js";
import {startPanel} from "/page/panel.js";
import {Store} from "/page/store.js";

const by = id => document.getElementById(id);
const store = new Store();
let conversation = store.conversations[0] ?? store.newConversation();
let running = null;  // {abort, conversation} of the answer that is being written

function button(label, action) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = label;
  made.addEventListener("click", action);
  return made;
}

// --- what is shown

function showConversations() {
  by("conversations").replaceChildren(...store.conversations.map(each => {
    const row = document.createElement("li");
    row.setAttribute("aria-current", each === conversation);
    const open = button(each.title, () => select(each));
    open.className = "open";
    const remove = button("×", () => removeConversation(each));
    remove.className = "delete";
    remove.title = "Delete";
    row.append(open, remove);
    return row;
  }));
}

function bodyOf(message) {
  const body = document.createElement("div");
  body.className = "body";
  if (message.role === "user") {
    body.textContent = message.content;
    return body;
  }
  if (message.thought) {
    const details = document.createElement("details");
    details.open = !message.content;
    const summary = document.createElement("summary");
    summary.textContent = message.content ? "Thought" : "Thinking";
    const thought = document.createElement("div");
    thought.className = "thought";
    thought.textContent = message.thought;
    details.append(summary, thought);
    body.append(details);
  }
  body.append(markdown(message.content));
  if (message.error) {
    const error = document.createElement("p");
    error.className = "error";
    error.textContent = message.error;
    body.append(error);
  }
  return body;
}

function messageElement(message, index) {
  const made = document.createElement("article");
  made.className = `message ${message.role}`;
  const tools = document.createElement("div");
  tools.className = "tools";
  if (!running) {
    if (message.role === "user") tools.append(button("Edit", () => edit(index)));
    else tools.append(button("Retry", () => answer(index)), button("Copy", () => navigator.clipboard.writeText(message.content)));
  }
  if (message.note) tools.append(message.note);
  made.append(bodyOf(message), tools);
  return made;
}

function showMessages() {
  const list = by("messages");
  if (conversation.messages.length === 0) {
    const empty = document.createElement("p");
    empty.className = "empty";
    empty.textContent = "Ask something.";
    list.replaceChildren(empty);
  } else {
    list.replaceChildren(...conversation.messages.map(messageElement));
  }
  list.scrollTop = list.scrollHeight;
}

function showLast() {
  const list = by("messages");
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
  list.lastElementChild.querySelector(".body").replaceWith(bodyOf(conversation.messages.at(-1)));
  if (atEnd) list.scrollTop = list.scrollHeight;
}

function showState() {
  by("send").hidden = Boolean(running);
  by("stop").hidden = !running;
}

function show() {
  showConversations();
  showMessages();
  showState();
}

// --- what the controls do

function select(chosen) {
  conversation = chosen;
  by("sidebar").classList.remove("open");
  show();
}

function removeConversation(chosen) {
  if (running?.conversation === chosen) running.abort.abort();
  store.remove(chosen);
  select(chosen === conversation ? store.conversations[0] ?? store.newConversation() : conversation);
}

function edit(index) {
  const message = conversation.messages[index];
  const box = document.createElement("textarea");
  box.value = message.content;
  box.rows = Math.min(10, message.content.split("\n").length + 1);
  const save = button("Send", () => {
    const text = box.value.trim();
    if (!text) return;
    conversation.messages.length = index;
    say(text);
  });
  const tools = document.createElement("div");
  tools.className = "tools";
  tools.append(save, button("Cancel", showMessages));
  by("messages").children[index].replaceChildren(box, tools);
  box.focus();
}

function say(text) {
  if (conversation.messages.length === 0) conversation.title = text.slice(0, 60);
  conversation.messages.push({role: "user", content: text});
  answer(conversation.messages.length);
}

function request(index) {
  const settings = store.settings;
  const messages = conversation.messages.slice(0, index).map(({role, content}) => ({role, content}));
  if (settings["system-prompt"]) messages.unshift({role: "system", content: settings["system-prompt"]});
  const made = {model: by("model-name").textContent, messages};
  for (const [id, name] of [["temperature", "temperature"], ["top-p", "top_p"], ["max-tokens", "max_completion_tokens"], ["seed", "seed"]]) {
    if (settings[id] !== undefined && settings[id] !== "") made[name] = Number(settings[id]);
  }
  return made;
}

// Writes the message at `index` anew from those before it.
async function answer(index) {
  if (running) return;
  const abort = new AbortController(), asked = request(index), own = conversation, message = {role: "assistant", content: ""};
  own.messages.length = index;
  own.messages.push(message);
  running = {abort, conversation: own};
  show();
  let drawn = 0;
  const began = performance.now();
  try {
    for await (const piece of streamChat(asked, store.settings["api-key"], abort.signal)) {
      message.content += piece.content ?? "";
      if (piece.thought) message.thought = (message.thought ?? "") + piece.thought;
      if (piece.usage) {
        const seconds = (performance.now() - began) / 1000;
        message.note = `${piece.usage.completion_tokens} tokens, ${(piece.usage.completion_tokens / seconds).toFixed(1)}/s` + (piece.finish === "length" ? ", cut at its length" : "");
      }
      if (conversation === own && performance.now() - drawn > 50) {
        showLast();
        drawn = performance.now();
      }
    }
  } catch (error) {
    if (abort.signal.aborted) message.note = "stopped";
    else message.error = error.message;
  }
  running = null;
  store.save();
  show();
}

function send() {
  const text = by("prompt").value.trim();
  if (!text || running) return;
  by("prompt").value = "";
  by("prompt").style.height = "";
  say(text);
}

by("composer").addEventListener("submit", event => {
  event.preventDefault();
  send();
});
by("prompt").addEventListener("keydown", event => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
by("prompt").addEventListener("input", event => {
  event.target.style.height = "";
  event.target.style.height = `${event.target.scrollHeight + 2}px`;
});
by("stop").addEventListener("click", () => running?.abort.abort());
by("new-chat").addEventListener("click", () => {
  select(store.newConversation());
  by("prompt").focus();
});
by("toggle-sidebar").addEventListener("click", event => {
  event.stopPropagation();
  by("sidebar").classList.toggle("open");
});
document.querySelector("main").addEventListener("click", () => by("sidebar").classList.remove("open"));

by("toggle-settings").addEventListener("click", event => {
  by("settings").hidden = !by("settings").hidden;
  event.target.setAttribute("aria-expanded", !by("settings").hidden);
});
by("settings").addEventListener("submit", event => event.preventDefault());
for (const field of by("settings").querySelectorAll("input, textarea")) {
  field.value = store.settings[field.id] ?? "";
  field.addEventListener("input", () => {
    store.settings[field.id] = field.value;
    store.saveSettings();
    if (field.id === "api-key") showModel();
  });
}

function showTheme() { document.documentElement.dataset.theme = store.settings.theme ?? "auto"; }
by("toggle-theme").addEventListener("click", () => {
  const chosen = store.settings.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  store.settings.theme = chosen === "dark" ? "light" : "dark";
  store.saveSettings();
  showTheme();
});

async function showModel() {
  try {
    by("model-name").textContent = await modelName(store.settings["api-key"]);
    document.title = `${by("model-name").textContent} - Fathom`;
  } catch (error) {
    by("model-name").textContent = error.message;
  }
}

showTheme();
show();
showModel();
startPanel();
