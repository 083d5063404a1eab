// Conversations and settings, kept in this browser. A conversation is {id, title, messages: [{role, content, thought?, error?, note?}]}.

const kConversations = "fathom.conversations", kSettings = "fathom.settings";

function read(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function write(name, value) {
  try {
    localStorage.setItem(name, JSON.stringify(value));
  } catch {  // full, or not allowed: the page works on without
  }
}

export class Store {
  conversations = read(kConversations, []);
  settings = read(kSettings, {});

  newConversation() {
    const empty = this.conversations.find(conversation => conversation.messages.length === 0);
    if (empty) return empty;
    const conversation = {id: `${Date.now()}-${Math.random().toString(36).slice(2, 8)}`, title: "New conversation", messages: []};
    this.conversations.unshift(conversation);
    return conversation;
  }

  remove(conversation) {
    this.conversations = this.conversations.filter(other => other !== conversation);
    this.save();
  }

  save() { write(kConversations, this.conversations.filter(conversation => conversation.messages.length > 0)); }
  saveSettings() { write(kSettings, this.settings); }
}
