"use strict";
// The page. What comes from a text or from the server is shown by textContent alone, so none of it can be HTML.

const WAIT_MS = 350; // after the last key, before a translation is asked for
const ALTERNATIVES = 4;
const SURE_PERCENT = 60;

const byId = (id) => document.getElementById(id);
const source = byId("source"), target = byId("target");
const sourceLanguage = byId("source-language"), targetLanguage = byId("target-language");

let languages = []; // of the server: code, name, targets
let limit = 0;
let surface = "en";
let waiting = 0; // timer of the next request
let asking = null; // AbortController of the request on its way
let answer = null; // the last one
let chosen = []; // translation shown of each line
let told = { name: "", kind: "", values: [] }; // what the line of state says

// ------------------------------------------------------------------------------------------------ texts

function text(name, ...values) {
  const written = TEXTS[surface][name] ?? name;
  return values.reduce((found, value, place) => found.replaceAll(`{${place}}`, () => String(value)), written);
}

function languageName(code) {
  try {
    return new Intl.DisplayNames([surface], { type: "language" }).of(code) ?? code;
  } catch {
    return code;
  }
}

function speak(code) {
  surface = code;
  document.documentElement.lang = code;
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = text(element.dataset.text);
  source.placeholder = text("placeholder");
  source.setAttribute("aria-label", `${text("from")} ${text("title")}`);
  document.title = `${text("title")} – mtmoe`;
  listLanguages();
  count();
  state(told.name, told.kind, ...told.values);
  show();
}

// -------------------------------------------------------------------------------------------- what is kept

function kept(name) {
  try { return localStorage.getItem(`mtmoe.${name}`); } catch { return null; }
}

function keep(name, value) {
  try { localStorage.setItem(`mtmoe.${name}`, value); } catch { /* a browser that keeps nothing */ }
}

function key() {
  try { return sessionStorage.getItem("mtmoe.key") ?? ""; } catch { return byId("key").value; }
}

// ---------------------------------------------------------------------------------------------- languages

function option(value, label) {
  const made = document.createElement("option");
  made.value = value;
  made.textContent = label;
  return made;
}

function fill(select, codes, first = []) {
  const before = select.value;
  select.replaceChildren(...first, ...codes.map((code) => option(code, languageName(code))));
  if ([...select.options].some((each) => each.value === before)) select.value = before;
}

function listLanguages() {
  const sources = languages.filter((each) => each.targets.length).map((each) => each.code);
  fill(sourceLanguage, sources, [option("auto", text("auto"))]);
  listTargets();
}

function listTargets() {
  const from = sourceLanguage.value;
  const found = languages.filter((each) => from === "auto" || each.code === from).flatMap((each) => each.targets);
  fill(targetLanguage, [...new Set(found)]);
  byId("swap").disabled = !canSwap();
}

function knownSource() {
  return sourceLanguage.value === "auto" ? answer?.source : sourceLanguage.value;
}

function canSwap() {
  const from = knownSource();
  return languages.some((each) => each.code === targetLanguage.value && each.targets.includes(from));
}

function swap() {
  if (!canSwap()) return;
  const from = knownSource(), to = targetLanguage.value;
  const translated = shownText();
  sourceLanguage.value = to;
  listTargets();
  targetLanguage.value = from;
  if (translated.trim()) source.value = translated;
  answer = null;
  listTargets();
  changed(0);
}

// -------------------------------------------------------------------------------------------- translating

function count() {
  byId("count").textContent = limit ? text("count", [...source.value].length, limit) : "";
}

function changed(delay = WAIT_MS) {
  count();
  clearTimeout(waiting);
  asking?.abort();
  if (!source.value.trim()) {
    answer = null;
    state("");
    show();
    return;
  }
  waiting = setTimeout(translate, delay);
}

function state(name, kind = "", ...values) {
  told = { name, kind, values };
  byId("state").textContent = name ? text(name, ...values) : "";
  byId("state").className = kind;
}

async function translate() {
  asking = new AbortController();
  const { signal } = asking;
  state("working");
  try {
    const response = await fetch("mtmoe/translate", {
      method: "POST",
      headers: { "Content-Type": "application/json", ...(key() ? { Authorization: `Bearer ${key()}` } : {}) },
      body: JSON.stringify({
        text: source.value, source: sourceLanguage.value, target: targetLanguage.value, alternatives: ALTERNATIVES,
        terms: terms()
      }),
      signal
    });
    const content = await response.json();
    if (response.ok) {
      answer = content;
      chosen = content.lines.map((line) => line.translation);
      state("done");
      show();
      return;
    }
    const seconds = Number(response.headers.get("Retry-After"));
    if (response.status === 429 && seconds > 0) {
      state("busy", "error", seconds);
      waiting = setTimeout(translate, 1000 * seconds);
      return;
    }
    if (response.status === 403) {
      byId("key-form").hidden = false;
      state("keyNeeded", "error");
      return;
    }
    state("failed", "error", content.error);
  } catch (error) {
    if (error.name !== "AbortError") state("offline", "error");
  }
}

function terms() {
  // A line without a translation is one that is being written.
  const pairs = byId("terms").value.split("\n").map((line) => line.split(/[=\t]/u).map((side) => side.trim()));
  return [...new Map(pairs.filter((pair) => pair.length === 2 && pair.every((side) => side)))];
}

function shownText() {
  if (!answer) return "";
  // The server joins lines with what stood between them; here one of them may be another of its translations.
  let rest = answer.text, shown = "";
  answer.lines.forEach((line, place) => {
    const at = line.translation ? rest.indexOf(line.translation) : 0;
    shown += rest.slice(0, at) + chosen[place];
    rest = rest.slice(at + line.translation.length);
  });
  return shown + rest;
}

// ------------------------------------------------------------------------------------------------ showing

function element(name, content, className = "") {
  const made = document.createElement(name);
  made.textContent = content;
  if (className) made.className = className;
  return made;
}

function show() {
  target.textContent = shownText();
  target.lang = answer?.target ?? "";
  showDetected();
  showWords();
  showNotes();
  showAlternatives();
  byId("swap").disabled = !canSwap();
  byId("copy").disabled = !answer;
}

function showDetected() {
  const found = answer?.detected;
  byId("detected").textContent = !found ? ""
    : found.confidence >= SURE_PERCENT ? text("detected", languageName(found.language), Math.round(found.confidence))
    : text("unsure", languageName(found.language));
}

function words(written) {
  return written.split(/\s+/u).filter((word) => word);
}

function showWords() {
  const lines = answer?.lines.filter((line, place) => chosen[place] === line.translation && line.alignment.length) ?? [];
  byId("words").hidden = !lines.length;
  const sides = [byId("words-source"), byId("words-target")];
  sides.forEach((side, number) => {
    side.lang = number ? answer?.target ?? "" : answer?.source ?? "";
    side.dir = "auto";
    side.replaceChildren(...lines.map((line, place) => paragraph(line, place, number)));
  });
  const first = sides[1].querySelector(".word");
  if (first) first.tabIndex = 0;
}

function paragraph(line, place, side) {
  const made = document.createElement("p");
  const own = words(side ? line.translation : line.source), others = words(side ? line.source : line.translation);
  own.forEach((word, number) => {
    const partners = line.alignment.filter((link) => link[side] === number).map((link) => link[1 - side]);
    const shown = element("span", word, "word");
    Object.assign(shown.dataset, { line: place, side, number, partners: partners.join(" ") });
    if (side) {
      shown.tabIndex = -1;
      shown.setAttribute("role", "note");
      const from = partners.map((partner) => others[partner]).join(" ");
      shown.setAttribute("aria-label", from ? text("wordFrom", word, from) : text("wordFromNothing", word));
    }
    made.append(shown, " ");
  });
  return made;
}

function mark(word) {
  for (const each of document.querySelectorAll(".word.marked")) each.classList.remove("marked");
  if (!word) return;
  word.classList.add("marked");
  const other = byId(word.dataset.side === "1" ? "words-source" : "words-target");
  for (const number of word.dataset.partners.split(" ").filter((each) => each)) {
    const found = `[data-line="${word.dataset.line}"][data-number="${number}"]`;
    other.querySelector(found)?.classList.add("marked");
  }
}

function moveAmongWords(event) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!step) return;
  const all = [...byId("words-target").querySelectorAll(".word")];
  const next = all[all.indexOf(document.activeElement) + step];
  if (!next) return;
  event.preventDefault();
  document.activeElement.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

function showNotes() {
  const found = [];
  const several = (answer?.lines.length ?? 0) > 1;
  answer?.lines.forEach((line, place) => {
    const where = several ? text("line", place + 1) : "";
    for (const suspicion of line.suspicions) {
      found.push(element("li", where + text("check", text(suspicion.kind)), "warning"));
    }
    for (const { written, read_as: readAs } of line.corrections) {
      found.push(element("li", where + text("readAs", written, readAs)));
    }
    for (const warning of line.warnings) found.push(element("li", where + warning, "warning"));
    if (line.confidence !== null) {
      const percent = Math.round(100 * line.confidence);
      found.push(element("li", where + text("confidence", percent), percent < SURE_PERCENT ? "warning" : "sure"));
    }
  });
  byId("notes-list").replaceChildren(...found);
  byId("notes").hidden = !found.length;
}

function showAlternatives() {
  const found = [];
  answer?.lines.forEach((line, place) => {
    if (answer.lines.length > 1 && line.alternatives.length) found.push(element("li", line.source, "of-line"));
    for (const other of [line.translation, ...line.alternatives].filter((each) => each !== chosen[place])) {
      const button = element("button", other);
      button.type = "button";
      button.lang = answer.target;
      button.addEventListener("click", () => {
        chosen[place] = other;
        show();
        target.focus();
      });
      const item = document.createElement("li");
      item.append(button);
      found.push(item);
    }
  });
  byId("alternatives-list").replaceChildren(...found);
  byId("alternatives").hidden = !found.length;
}

async function copy() {
  try {
    await navigator.clipboard.writeText(shownText());
    state("copied");
  } catch { // without HTTPS, browsers let nobody write there
    getSelection().selectAllChildren(target);
    if (document.execCommand("copy")) state("copied");
  }
}

function paint(theme) {
  document.documentElement.dataset.theme = theme;
  byId("theme").setAttribute("aria-pressed", String(theme === "dark"));
}

// ------------------------------------------------------------------------------------------------- begin

async function begin() {
  const [found, settings] = await Promise.all(
    ["languages", "frontend/settings"].map(async (path) => (await fetch(path)).json())
  );
  languages = found;
  limit = settings.charLimit;
  byId("key-form").hidden = !settings.keyRequired || Boolean(key());
  listLanguages();
  targetLanguage.value = settings.language.target.code;
  count();
}

for (const code of Object.keys(TEXTS)) {
  byId("surface").append(option(code, new Intl.DisplayNames([code], { type: "language" }).of(code)));
}
surface = kept("surface") ?? (navigator.languages ?? []).map((code) => code.slice(0, 2)).find((code) => code in TEXTS) ?? "en";
if (!(surface in TEXTS)) surface = "en";
byId("surface").value = surface;
paint(kept("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
speak(surface);

byId("surface").addEventListener("change", (event) => {
  keep("surface", event.target.value);
  speak(event.target.value);
});
byId("theme").addEventListener("click", () => {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  keep("theme", theme);
  paint(theme);
});
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  try { sessionStorage.setItem("mtmoe.key", byId("key").value); } catch { /* it stays in the field */ }
  byId("key-form").hidden = true;
  changed(0);
});
source.addEventListener("input", () => changed());
byId("terms").addEventListener("input", () => changed());
sourceLanguage.addEventListener("change", () => { listTargets(); changed(0); });
targetLanguage.addEventListener("change", () => { listTargets(); changed(0); });
byId("swap").addEventListener("click", swap);
byId("copy").addEventListener("click", copy);
byId("clear").addEventListener("click", () => { source.value = ""; changed(0); source.focus(); });
document.addEventListener("keydown", (event) => {
  if (event.altKey && event.code === "KeyS") { event.preventDefault(); swap(); }
  if (event.altKey && event.code === "KeyC") { event.preventDefault(); copy(); }
});
for (const side of [byId("words-source"), byId("words-target")]) {
  side.addEventListener("mouseover", (event) => mark(event.target.closest(".word")));
  side.addEventListener("mouseleave", () => mark(null));
  side.addEventListener("focusin", (event) => mark(event.target.closest(".word")));
}
byId("words-target").addEventListener("keydown", moveAmongWords);
begin().catch(() => state("offline", "error"));
