"use strict";
(() => {
const $ = (query, root = document) => root.querySelector(query);
const $$ = (query, root = document) => [...root.querySelectorAll(query)];
const data = JSON.parse($("#data").textContent);
const root = document.documentElement;
const words = (...parts) => parts.filter(Boolean).join(" ");
const tables = $$("table.sheet");
/* Embedded rows refer to shared values by number: f facets, c configuration, b batch, d details; v is the ranked figure. */
const rows = $$("table.sheet tbody tr").map((tr) => {
  const { f, c, g, b, v = null, l = 0, m, d } = data.rows[tr.id];
  const facets = Object.fromEntries(data.facets.map((name, i) => [name, data.pool[f[i]]]));
  return { tr, id: tr.id, words: words(tr.textContent, ...Object.values(facets)).toLowerCase(), ...facets, config: data.pool[c], batch: data.pool[b], group: g, value: v, less: l, m, d };
});
const byId = new Map(rows.map((row) => [row.id, row]));
const points = $$("[data-k]").map((element) => ({ element, keys: element.dataset.k.split(" ") }));
const controls = $$("[data-state]");
const dialog = $("#detail");

/* The whole state lives in the address, readable: #q=bert&engine=openvino&sort-offline=-throughput&row=r12 */
let state = new URLSearchParams();
const read = () => { state = new URLSearchParams(location.hash.slice(1)); };
function change(name, value, step = true) {
  const next = new URLSearchParams(state);
  if (value) next.set(name, value); else next.delete(name);
  if (String(next) === String(state)) return;
  state = next;
  const address = location.pathname + location.search + (String(state) ? `#${state}` : "");
  history[step ? "pushState" : "replaceState"](null, "", address);
  apply();
}

function sort(table) {
  const wish = state.get(`sort-${table.dataset.sheet}`) || "";
  const name = wish.replace(/^-/, "");
  const heads = $$("thead th", table);
  const index = heads.findIndex((head) => head.dataset.c === name);
  heads.forEach((head, i) => i === index ? head.setAttribute("aria-sort", wish[0] === "-" ? "descending" : "ascending") : head.removeAttribute("aria-sort"));
  const sign = wish[0] === "-" ? -1 : 1;
  const all = rows.filter((row) => row.tr.parentNode.parentNode === table);
  if (index >= 0) {
    const number = heads[index].classList.contains("num");
    const of = (cell) => number ? parseFloat(cell.dataset.v) : cell.textContent.trim().toLowerCase();
    const value = new Map(all.map((row) => [row, of(row.tr.cells[index])]));
    /* Whatever is not measured or not valid never ranks among what is: it comes after, and the missing comes last. */
    const tier = (row) => !number ? 0 : Number.isNaN(value.get(row)) ? 2 : row.value ? 0 : 1;
    const order = (a, b) => number ? a - b : a.localeCompare(b, "en", { numeric: true });
    all.sort((a, b) => tier(a) - tier(b) || (tier(a) === 2 ? 0 : sign * order(value.get(a), value.get(b))));
  }
  const body = table.tBodies[0];
  /* Moving a row would take the focus from it. */
  if (all.some((row, i) => body.rows[i] !== row.tr)) body.append(...all.map((row) => row.tr));
}

function filter() {
  if (!rows.length) return;
  const text = (state.get("q") || "").toLowerCase().split(/\s+/).filter(Boolean);
  const facets = data.facets.filter((name) => state.get(name));
  let shown = 0;
  for (const row of rows) {
    row.on = text.every((word) => row.words.includes(word)) && facets.every((name) => row[name] === state.get(name));
    row.tr.hidden = !row.on;
    shown += row.on;
  }
  for (const section of $$(".sheet-section")) section.hidden = !$("tbody tr:not([hidden])", section);
  $("#none").hidden = shown > 0;
  $("#count").textContent = shown === rows.length ? `${rows.length} rows` : `${shown} of ${rows.length} rows`;
  $("#reset").disabled = ![...state.keys()].some((name) => !["theme", "row", "market", "network"].includes(name));
  dim();
}

/* Published rows have a filter of their own: they share no column with what was measured. */
const market = $$("table.market tbody tr:not(.group)").map((tr) => ({ tr, network: tr.parentNode.dataset.network, words: words(tr.parentNode.dataset.network, tr.textContent).toLowerCase() }));
function filterMarket() {
  if (!market.length) return;
  const text = (state.get("market") || "").toLowerCase().split(/\s+/).filter(Boolean);
  const network = state.get("network");
  let shown = 0;
  for (const row of market) {
    const on = text.every((word) => row.words.includes(word)) && (!network || row.network === network);
    row.tr.hidden = !on;
    shown += on;
  }
  for (const body of $$("table.market tbody")) body.hidden = !$("tr:not(.group):not([hidden])", body);
  $("#market-count").textContent = shown === market.length ? `${shown} rows` : `${shown} of ${market.length} rows`;
  const others = $("#market-others");
  if (others && (text.length || network)) others.open = Boolean($("tbody:not([hidden])", others));
}

function dim() {
  for (const { element, keys } of points) element.classList.toggle("dim", !keys.some((key) => byId.get(key)?.on));
  for (const facet of $$(".facets figure[data-w]")) facet.hidden = Boolean(state.get("workload")) && facet.dataset.w !== state.get("workload");
}

function rebase() {
  const chosen = state.get("baseline") || data.baseline;
  const base = new Map();
  for (const row of rows) if (row.config === chosen && row.value) base.set(row.group, row);
  for (const row of rows) {
    const cell = $("[data-ratio]", row.tr);
    if (!cell) continue;
    row.own ??= { nodes: [...cell.childNodes], v: cell.dataset.v, css: cell.className };
    if (chosen === data.baseline) {
      cell.replaceChildren(...row.own.nodes);
      cell.className = row.own.css;
      cell.dataset.v = row.own.v ?? "";
      continue;
    }
    const other = base.get(row.group);
    const ratio = other && row.value ? (row.less ? other.value / row.value : row.value / other.value) : null;
    cell.dataset.v = ratio ?? "";
    cell.className = words("num", ratio === null && "na", other === row && "best");
    cell.textContent = ratio === null ? "n/a" : `${ratio.toFixed(2)}\u00d7`;
    cell.title = ratio !== null ? "" : !row.value ? "not ranked: see its verdict" : "the baseline has no valid result for this workload, scenario and batch";
  }
}

const made = (tag, properties) => Object.assign(document.createElement(tag), properties);
const heading = (textContent) => made("h3", { textContent });
function described(values, className = "") {
  const list = made("dl", { className });
  for (const [name, value] of Object.entries(values)) list.append(made("dt", { textContent: name }), made("dd", { textContent: value }));
  return list;
}

function detail() {
  const row = byId.get(state.get("row"));
  if (!row) { if (dialog.open) dialog.close(); return; }
  $("#detail-title").textContent = [row.workload, row.config, row.scenario.replaceAll("_", " "), row.batch].join(", ");
  const body = $("#detail-body");
  const figures = Object.fromEntries(data.metrics.map((name, i) => [name, row.m[i]]).filter(([, value]) => value));
  body.replaceChildren(heading("Figures over the repeats"), described(figures, "figs"));
  row.d.forEach((index, section) => {
    if (index === null) return;
    const content = data.pool[index];
    body.append(heading(data.sections[section]), typeof content === "string" ? made("pre", { textContent: content, tabIndex: 0 }) : described(content));
  });
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

function theme() {
  const wish = state.get("theme");
  if (wish === "dark" || wish === "light") root.dataset.theme = wish; else delete root.dataset.theme;
  const dark = wish ? wish === "dark" : matchMedia("(prefers-color-scheme:dark)").matches;
  $("#theme").textContent = dark ? "Light theme" : "Dark theme";
}

function apply() {
  theme();
  for (const control of controls) {
    const value = state.get(control.dataset.state) || "";
    if (control.value !== value) control.value = value;
    if (control.value !== value && control.tagName === "SELECT") control.value = "";
  }
  rebase();
  tables.forEach(sort);
  filter();
  filterMarket();
  detail();
}

for (const control of controls) control.addEventListener("input", () => change(control.dataset.state, control.value, control.tagName === "SELECT"));
for (const table of tables) {
  $("thead", table).addEventListener("click", (event) => {
    const head = event.target.closest("button")?.closest("th");
    if (!head) return;
    const first = head.dataset.first || "";
    const now = state.get(`sort-${table.dataset.sheet}`);
    const flip = (first === "-" ? "" : "-") + head.dataset.c;
    change(`sort-${table.dataset.sheet}`, now === first + head.dataset.c ? flip : now === flip ? "" : first + head.dataset.c);
  });
  table.tBodies[0].addEventListener("click", (event) => {
    const button = event.target.closest(".more");
    if (button) change("row", button.closest("tr").id);
  });
  table.tBodies[0].addEventListener("mouseover", (event) => hit(event.target.closest("tr")?.id));
  table.tBodies[0].addEventListener("mouseleave", () => hit(null));
}
function hit(id) { for (const { element, keys } of points) element.classList.toggle("hit", keys.includes(id)); }
for (const { element, keys } of points) {
  element.addEventListener("click", () => { const key = keys.find((id) => byId.has(id)); if (key) change("row", key); });
}

for (const button of $$("[data-row]")) button.addEventListener("click", () => change("row", button.dataset.row));

dialog.addEventListener("close", () => change("row", ""));
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
$("#detail-close").addEventListener("click", () => dialog.close());
$("#theme").addEventListener("click", (event) => change("theme", event.target.textContent.startsWith("Dark") ? "dark" : "light", false));
$("#reset")?.addEventListener("click", () => {
  const kept = state.get("theme");
  state = new URLSearchParams(kept ? { theme: kept } : {});
  history.pushState(null, "", location.pathname + location.search + (kept ? `#${state}` : ""));
  apply();
});
/* Links inside the page must not overwrite the state. */
for (const link of $$('a[href^="#"]')) link.addEventListener("click", (event) => {
  event.preventDefault();
  const target = $(link.getAttribute("href"));
  target.scrollIntoView();
  target.focus({ preventScroll: true });
});
addEventListener("popstate", () => { read(); apply(); });
addEventListener("hashchange", () => { read(); apply(); });
matchMedia("(prefers-color-scheme:dark)").addEventListener("change", theme);
for (const section of $$("main > section")) {
  const notes = $$(".notes > li", section);
  for (const cell of $$("[data-n]", section)) cell.title = notes[cell.dataset.n - 1].textContent;
}
$("#nojs").remove();
read();
apply();
})();
