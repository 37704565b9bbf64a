"use strict";
// The conversation is kept here; the server remembers nothing between two requests.

const $ = (id) => document.getElementById(id);
const hints = {
  chat: "Ask something. A model that was only pre-trained does not answer: let it go on with a text instead.",
  complete: "Write the beginning of a text; the model goes on with it.",
};
let messages = [];
let drawing = null;

function clear() {
  if (drawing) drawing.abort();
  messages = [];
  for (const one of document.querySelectorAll("article")) one.remove();
  $("hint").textContent = hints[$("mode").value];
  $("hint").hidden = false;
  $("problem").textContent = "";
  $("text").focus();
}

function show(kind, text) {
  const article = document.createElement("article");
  article.className = kind;
  article.textContent = text; // never as HTML: what a model writes is not ours
  $("hint").hidden = true;
  $("talk").append(article);
  article.scrollIntoView({ block: "end" });
  return article;
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    held += value;
    for (let end = held.indexOf("\n\n"); end >= 0; end = held.indexOf("\n\n")) {
      yield JSON.parse(held.slice("data: ".length, end));
      held = held.slice(end + 2);
    }
  }
}

async function ask(body, add) {
  const response = await fetch("chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal: drawing.signal,
  });
  if (!response.ok) throw new Error((await response.json()).error);
  for await (const event of events(response)) {
    if (event.error) throw new Error(event.error);
    if (event.done) return;
    add(event.token);
  }
  throw new Error("The answer broke off: is the server still there?");
}

function busy(is) {
  $("send").hidden = is;
  $("stop").hidden = !is;
}

async function send() {
  const text = $("text").value;
  if (drawing || !text.trim()) return;
  const complete = $("mode").value === "complete";
  const own = drawing = new AbortController();
  const said = { role: "user", content: text };
  const asked = complete ? [said] : [...messages, said];
  if (!complete) show("user", text);
  const article = show(complete ? "text" : "assistant", complete ? text : "");
  const answer = article.appendChild(document.createElement(complete ? "b" : "span"));
  article.classList.add("drawing");
  $("text").value = "";
  $("problem").textContent = "";
  busy(true);
  try {
    await ask({ messages: asked, complete }, (token) => {
      answer.textContent += token;
      article.scrollIntoView({ block: "end" });
    });
  } catch (error) {
    if (error.name !== "AbortError") {
      $("problem").textContent = error.message;
      $("text").value = text;
    }
  }
  article.classList.remove("drawing");
  if (drawing !== own) return; // a new conversation was begun
  drawing = null;
  busy(false);
  if (!complete && answer.textContent) messages = [...asked, { role: "assistant", content: answer.textContent }];
  $("text").focus();
}

$("form").addEventListener("submit", (event) => { event.preventDefault(); send(); });
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
});
$("stop").addEventListener("click", () => drawing && drawing.abort());
$("new").addEventListener("click", () => { clear(); drawing = null; busy(false); });
$("mode").addEventListener("change", () => { clear(); drawing = null; busy(false); });
fetch("health").then((response) => response.json()).then((facts) => {
  $("model").textContent = `${facts.model}, ${facts.parameters.toLocaleString("en")} parameters`;
});
clear();
