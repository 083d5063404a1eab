// Markdown to elements, for what models write: headings, lists, quotes, tables, fenced code, emphasis, code, links. Text is only ever put in as
// text, so nothing that a model says becomes markup or a script.

function element(tag, ...children) {
  const made = document.createElement(tag);
  made.append(...children);
  return made;
}

const kInline = /(`+)([\s\S]*?[^`])\1(?!`)|\*\*([^\n]+?)\*\*|__([^\n]+?)__|\*([^\s*][^\n*]*?)\*|(?<!\w)_([^\s_][^\n_]*?)_(?!\w)|~~([^\n]+?)~~|\[([^\]\n]+)\]\(([^()\s]+)\)/;

function inline(text) {
  const parts = [];
  while (text) {
    const match = kInline.exec(text);
    if (!match) break;
    parts.push(text.slice(0, match.index));
    text = text.slice(match.index + match[0].length);
    const [whole, , code, strong, strong2, emphasis, emphasis2, struck, label, address] = match;
    if (code !== undefined) parts.push(element("code", code));
    else if (strong ?? strong2) parts.push(element("strong", ...inline(strong ?? strong2)));
    else if (emphasis ?? emphasis2) parts.push(element("em", ...inline(emphasis ?? emphasis2)));
    else if (struck) parts.push(element("s", ...inline(struck)));
    else if (/^https?:\/\//i.test(address)) {
      const link = element("a", ...inline(label));
      link.href = address;
      link.target = "_blank";
      link.rel = "noopener noreferrer";
      parts.push(link);
    } else parts.push(whole);
  }
  parts.push(text);
  return parts;
}

function codeBlock(lines, language) {
  const code = element("code", lines.join("\n"));
  if (language) code.className = `language-${language}`;
  const copy = element("button", "Copy");
  copy.type = "button";
  copy.className = "copy";
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(code.textContent);
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  });
  return element("pre", copy, code);
}

function cells(line) {
  return line.trim().replace(/^\||\|$/g, "").split("|").map(cell => cell.trim());
}

const kItem = /^(\s*)([-*+]|\d+[.)])\s+(.*)$/;

// Items from lines[at] on whose mark stands at `indent` or deeper; gives the list and the line after it.
function list(lines, at) {
  const [, space, mark] = kItem.exec(lines[at]);
  const indent = space.length;
  const made = element(/\d/.test(mark) ? "ol" : "ul");
  if (made.tagName === "OL") made.start = parseInt(mark, 10);
  while (at < lines.length) {
    const match = kItem.exec(lines[at]);
    if (match && match[1].length > indent + 1 && made.lastChild) {
      const [inner, next] = list(lines, at);
      made.lastChild.append(inner);
      at = next;
    } else if (match && match[1].length >= indent) {
      made.append(element("li", ...inline(match[3])));
      ++at;
    } else if (!match && /^\s+\S/.test(lines[at]) && made.lastChild) {
      made.lastChild.append(" ", ...inline(lines[at].trim()));
      ++at;
    } else break;
  }
  return [made, at];
}

export function markdown(text) {
  const lines = text.split("\n");
  const blocks = document.createDocumentFragment();
  for (let at = 0; at < lines.length;) {
    const line = lines[at];
    const fence = /^\s*(```+|~~~+)\s*([\w+#.-]*)/.exec(line);
    const heading = /^(#{1,6})\s+(.*)$/.exec(line);
    if (!line.trim()) {
      ++at;
    } else if (fence) {
      let end = at + 1;
      while (end < lines.length && !lines[end].trim().startsWith(fence[1])) ++end;  // an open fence runs to the end: more is on its way
      blocks.append(codeBlock(lines.slice(at + 1, end), fence[2]));
      at = end + 1;
    } else if (heading) {
      blocks.append(element(`h${heading[1].length}`, ...inline(heading[2])));
      ++at;
    } else if (/^\s*([-*_])(\s*\1){2,}\s*$/.test(line)) {
      blocks.append(element("hr"));
      ++at;
    } else if (kItem.test(line)) {
      const [made, next] = list(lines, at);
      blocks.append(made);
      at = next;
    } else if (line.startsWith(">")) {
      const quoted = [];
      while (at < lines.length && lines[at].startsWith(">")) quoted.push(lines[at++].replace(/^>\s?/, ""));
      blocks.append(element("blockquote", markdown(quoted.join("\n"))));
    } else if (line.includes("|") && /^[\s|:-]*-[\s|:-]*$/.test(lines[at + 1] ?? "") && lines[at + 1].includes("|")) {
      const table = element("table", element("thead", element("tr", ...cells(line).map(cell => element("th", ...inline(cell))))));
      const body = element("tbody");
      for (at += 2; at < lines.length && lines[at].includes("|"); ++at) body.append(element("tr", ...cells(lines[at]).map(cell => element("td", ...inline(cell)))));
      table.append(body);
      blocks.append(table);
    } else {
      const paragraph = [line];
      for (++at; at < lines.length && lines[at].trim() && !/^(\s*(```|~~~)|#{1,6}\s|>)/.test(lines[at]) && !kItem.test(lines[at]); ++at) paragraph.push(lines[at]);
      const made = element("p");
      paragraph.forEach((part, i) => {
        if (i) made.append(element("br"));
        made.append(...inline(part));
      });
      blocks.append(made);
    }
  }
  return blocks;
}
