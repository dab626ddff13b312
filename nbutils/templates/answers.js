"use strict";
// Nothing here reads text as markup: all of it goes in by textContent, with a direction of its own (dir="auto"), so
// that marks in it which turn the direction of writing reach no further than its end.

const PAGE_SIZE = 50;
const NO_FILTERS = { system: "", result: "", field: "", differ: false, search: "" };
const RESULTS = { right: "right", partly: "partly right", wrong: "wrong" };
const control = Object.fromEntries(
  ["notebook", "system", "result", "field", "differ", "search"].map((id) => [id, document.getElementById(id)]));
const [form, message, counter, clear, cards, more] =
  ["filters", "message", "counter", "clear", "cards", "more"].map((id) => document.getElementById(id));
const names = JSON.parse(document.getElementById("names").textContent);
const sources = [...document.querySelectorAll("script.notebook")];
const loaded = new Map(); // a notebook's data are parsed when it is first chosen

function load(name) {
  if (!loaded.has(name)) {
    const parsed = JSON.parse(sources[names.indexOf(name)].textContent);
    parsed.passageOf = new Map(parsed.passages.map((passage) => [passage.id, passage]));
    for (const item of parsed.questions) {
      const given = item.given.filter(Boolean);
      const texts = [item.question, ...item.answers, item.subject, item.id, ...given.map((answer) => answer.text)];
      item.differ = new Set(given.map((answer) => answer.right)).size > 1;
      item.haystack = plain(texts.join("\n"));
    }
    loaded.set(name, parsed);
  }
  return loaded.get(name);
}

let data; // of the chosen notebook
let found = []; // its questions that pass the filters
let shown = 0; // how many of them have a card
let linked = null; // the question that the address names

function plain(text) {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
}

function resultOf(answer) {
  return answer.right >= 1 ? "right" : answer.right <= 0 ? "wrong" : "partly";
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) {
    made.textContent = text;
    made.dir = "auto";
  }
  return made;
}

function count(n, noun) {
  return `${n} ${noun}${n === 1 ? "" : "s"}`;
}

// Filters

function setOptions(select, options, wanted) {
  select.replaceChildren(...options.map(([value, label]) => new Option(label, value)));
  select.value = options.some(([value]) => value === wanted) ? wanted : options[0][0];
}

function choose(wanted) {
  data = load(wanted.notebook);
  const named = (values) => values.map((value) => [value, value]);
  const partly = data.questions.some((item) => item.given.some((answer) => answer && resultOf(answer) === "partly"));
  const results = Object.entries(RESULTS).filter(([result]) => partly || result !== "partly");
  control.notebook.value = wanted.notebook;
  setOptions(control.system, [["", "every system"], ...named(data.systems)], wanted.system);
  setOptions(control.result, [["", partly ? "any" : "right or wrong"], ...results], wanted.result);
  setOptions(control.field, [["", "every field"], ...named(data.fields)], wanted.field);
  control.field.disabled = data.fields.length === 0;
  control.differ.checked = wanted.differ;
  control.search.value = wanted.search;
}

function passes(item) {
  const system = data.systems.indexOf(control.system.value);
  const asked = (system < 0 ? item.given : [item.given[system]]).filter(Boolean);
  const result = control.result.value;
  return (!result || (asked.length > 0 && asked.every((answer) => resultOf(answer) === result)))
    && (!control.field.value || item.field === control.field.value)
    && (!control.differ.checked || item.differ)
    && plain(control.search.value).split(/\s+/).every((word) => item.haystack.includes(word));
}

// The address: #notebook/question-id?system=...&result=...&field=...&differ=1&search=...

function fromAddress() {
  const [place, filters] = location.hash.slice(1).split(/\?(.*)/s);
  const given = new URLSearchParams(filters ?? "");
  let notebook = place, question = "";
  try {
    [notebook, question] = place.split(/\/(.*)/s).map(decodeURIComponent);
  } catch { /* not percent-encoded: an address that this page did not make */ }
  const text = (name) => given.get(name) ?? "";
  return { notebook: notebook ?? "", question: question ?? "", system: text("system"), result: text("result"),
    field: text("field"), differ: given.has("differ"), search: text("search") };
}

function address(question) {
  const filters = new URLSearchParams();
  for (const name of ["system", "result", "field", "search"]) {
    if (control[name].value) filters.set(name, control[name].value);
  }
  if (control.differ.checked) filters.set("differ", "1");
  const place = [control.notebook.value, ...(question ? [question] : [])].map(encodeURIComponent).join("/");
  return `#${place}${`?${filters}`.replace(/^\?$/, "")}`;
}

// Cards

function passageList(ids, gold) {
  const list = element("ol");
  for (const id of ids) {
    const passage = data.passageOf.get(id);
    const entry = element("li");
    entry.append(element("strong", "", passage && passage.title ? passage.title : id));
    if (gold.includes(id)) entry.append(" ", element("span", "gold", "gold"));
    if (passage) entry.append(element("div", "passage", passage.text));
    list.append(entry);
  }
  return list;
}

function passages(summary, ids, gold) {
  const details = element("details");
  details.append(element("summary", "", summary));
  // Filled when it is opened: a page of cards may have a thousand passages.
  details.addEventListener("toggle", () => details.append(passageList(ids, gold)), { once: true });
  return details;
}

function answerRow(name, answer, gold) {
  const row = element("li", name === control.system.value ? "chosen" : "");
  row.append(element("span", "system", name));
  if (!answer) {
    row.append(element("span", "mark", "no answer"));
    return row;
  }
  const result = resultOf(answer);
  const mark = { right: "\u2713 right", wrong: "\u2717 wrong", partly: `\u25d0 score ${answer.right.toFixed(2)}` };
  row.append(element("span", `mark ${result}`, mark[result]));
  row.append(answer.text.trim() ? element("div", "text", answer.text) : element("div", "text dim", "(empty answer)"));
  if (answer.passages.length) {
    const nGold = new Set(answer.passages.filter((id) => gold.includes(id))).size;
    const summary = count(answer.passages.length, "passage") + (gold.length ? `, ${nGold || "no"} gold` : "");
    row.append(passages(summary, answer.passages, gold));
  }
  return row;
}

function card(item) {
  const article = element("article", item === linked ? "linked" : "");
  article.tabIndex = -1; // so that a link can put the focus here
  article.append(element("h2", "", item.question));
  const facts = element("p", "dim facts");
  for (const fact of [item.subject, item.field]) {
    if (fact) facts.append(element("bdi", "", fact));
  }
  const link = element("a", "", item.id);
  link.href = address(item.id);
  facts.append(link);
  const accepted = element("p", "accepted");
  accepted.append(element("span", "dim", "Accepted: "));
  item.answers.forEach((answer, i) => accepted.append(i ? " | " : "", element("bdi", "", answer)));
  if (!item.answers.length) accepted.append("(none: no answer is in the passages)");
  article.append(facts, accepted);
  if (item.gold.length) article.append(passages(count(item.gold.length, "gold passage"), item.gold, item.gold));
  const list = element("ul", "systems");
  data.systems.forEach((name, i) => list.append(answerRow(name, item.given[i], item.gold)));
  article.append(list);
  return article;
}

function showMore(upTo) {
  const first = shown;
  shown = Math.min(Math.max(upTo, shown), found.length);
  cards.append(...found.slice(first, shown).map(card));
  more.hidden = shown === found.length;
  more.textContent = `Show ${Math.min(PAGE_SIZE, found.length - shown)} more`;
  return cards.children[first];
}

function render(said = "") {
  found = data.questions.filter(passes);
  shown = 0;
  cards.replaceChildren();
  showMore(PAGE_SIZE * (1 + Math.floor(Math.max(found.indexOf(linked), 0) / PAGE_SIZE)));
  message.textContent = said;
  counter.textContent = `${found.length} of ${count(data.questions.length, "question")}`;
  clear.hidden = !address().includes("?");
}

function open() {
  const wanted = fromAddress();
  let said = "";
  if (!names.includes(wanted.notebook)) {
    said = wanted.notebook && `No notebook ${wanted.notebook} here.`;
    wanted.notebook = names[0];
    wanted.question = "";
  }
  choose(wanted);
  linked = data.questions.find((item) => item.id === wanted.question) ?? null;
  if (wanted.question && !linked) said = `No question ${wanted.question} in this notebook.`;
  if (linked && !passes(linked)) choose({ ...NO_FILTERS, notebook: wanted.notebook }); // it is to be seen
  render(said);
  if (linked) {
    const article = cards.children[found.indexOf(linked)];
    article.scrollIntoView({ block: "start" });
    article.focus({ preventScroll: true });
  }
}

let waiting = 0;

function filter() {
  clearTimeout(waiting);
  linked = null;
  history.replaceState(null, "", address());
  render();
}

setOptions(control.notebook, names.map((name) => [name, name]), "");
form.hidden = false;
form.addEventListener("submit", (event) => event.preventDefault());
for (const name of ["system", "result", "field", "differ"]) control[name].addEventListener("change", filter);
control.notebook.addEventListener("change", () => {
  const values = Object.entries(control).map(([name, { value }]) => [name, value]);
  choose({ ...Object.fromEntries(values), differ: control.differ.checked }); // what the other notebook lacks is dropped
  filter();
});
clear.addEventListener("click", () => {
  choose({ ...NO_FILTERS, notebook: control.notebook.value });
  filter();
  control.search.focus();
});
control.search.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(filter, 150);
});
more.addEventListener("click", () => showMore(shown + PAGE_SIZE).focus());
addEventListener("hashchange", open);
open();
