// One query at a time: what is asked is kept in `query`, and every setting asks it again.
"use strict";
const $ = (id) => document.getElementById(id);
const make = (tag, fields = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), fields);
  node.append(...children);
  return node;
};
let served = [], query = null, latest = 0, pictures = [];
let token = sessionStorage.getItem("token") || "";

const call = async (path, options = {}) => {
  const headers = { ...options.headers, ...(token && { Authorization: `Bearer ${token}` }) };
  let response;
  try { response = await fetch(path, { ...options, headers }); }
  catch { throw new Error("the server does not answer."); }
  if (response.status === 401) $("access").hidden = false;
  if (response.ok) return response;
  let reason = `the server answered ${response.status}.`;
  try { reason = (await response.json()).error; } catch { /* no JSON */ }
  throw new Error(reason);
};

const say = (text, wrong = false) => {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", wrong);
};

const start = async () => {
  try { served = await (await call("indexes")).json(); } catch (error) { return say(error.message, true); }
  $("access").hidden = true;
  say("");
  const kinds = new Set(served.map((each) => each.kind));
  $("served").textContent = served.map((each) =>
    `${each.name}: ${each.items.toLocaleString("en")} items, ${each.num_bits} bits`).join("; ");
  $("drop").hidden = !kinds.has("images");
  const ways = [...(kinds.has("documents") ? ["text"] : []), "id", "code"];
  $("by").replaceChildren(...ways.map((way) => make("option", { value: way, textContent: way })));
  $("text").rows = kinds.has("documents") ? 4 : 1;
  hint();
  $("both").hidden = served.length < 2;
  const most = Math.max(...served.map((each) => each.num_bits));
  Object.assign($("radius"), { max: most, value: most });
  bits();
  const counts = {};
  for (const each of served) for (const [label, n] of Object.entries(each.labels)) counts[label] = Math.max(n, counts[label] || 0);
  const labels = Object.entries(counts).sort((a, b) => a[0].localeCompare(b[0], "en", { numeric: true })).slice(0, 2000);
  $("label").replaceChildren(make("option", { value: "", textContent: "all" }),
    ...labels.map(([label, n]) => make("option", { value: label, textContent: `${label} (${n.toLocaleString("en")})` })));
  if (location.hash) followHash();
};

const hint = () => {
  $("text").placeholder = { text: "Write some text", id: "An id of the index", code: "A code in hexadecimal digits" }[$("by").value];
};
const isAny = () => Number($("radius").value) >= Number($("radius").max);
const inBits = (number) => `${number} ${number === 1 ? "bit" : "bits"}`;
const bits = () => { $("bits").textContent = isAny() ? "any" : inBits(Number($("radius").value)); };

const request = (index) => {
  const wanted = new URLSearchParams({ index: index.name, top: $("top").value || 24 });
  if (!isAny()) wanted.set("radius", $("radius").value);
  if ($("label").value) wanted.set("label", $("label").value);
  if ($("unique").checked) wanted.set("unique", 0);
  const options = { method: "POST" };
  if (query.by === "image") {
    options.body = new FormData();
    options.body.set("file", query.value);
  } else {
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify({ [query.by]: query.value });
  }
  return call(`search/${query.by}?${wanted}`, options).then((response) => response.json());
};

const search = async () => {
  if (!query) return;
  const number = ++latest;
  const asked = served.length > 1 && !$("compare").checked ? served.slice(0, 1) : served;
  say("searching …");
  const answers = await Promise.allSettled(asked.map(request));
  if (number !== latest) return; // a newer query is on its way
  pictures.forEach((url) => URL.revokeObjectURL(url));
  pictures = [];
  const failed = answers.filter((each) => each.status === "rejected").map((each) => each.reason.message);
  const found = answers.filter((each) => each.status === "fulfilled").map((each) => each.value);
  const what = query.by === "image" ? query.value.name || "the image" : `${query.by} ${query.value.slice(0, 80)}`;
  const counts = found.map((each) => `${each.hits.length} ${each.hits.length === 1 ? "item" : "items"}${each.note ? ` (${each.note.replace(/\.$/, "")})` : ""}`);
  say(failed.length ? [...new Set(failed)].join(" ") : `Nearest to ${what}: ${counts.join(" and ")}`, failed.length > 0);
  $("answers").replaceChildren(...found.map(section));
};

const section = (answer) => {
  const grid = make("div", { className: "grid" }, ...answer.hits.map((hit) => card(answer, hit)));
  const title = served.length > 1 ? [make("h2", { textContent: answer.index })] : [];
  const none = answer.hits.length ? [] : [make("p", { className: "none", textContent: "Nothing is that near." })];
  return make("section", {}, ...title, grid, ...none);
};

const card = (answer, hit) => {
  const node = make("a", { className: "hit", href: `#id=${encodeURIComponent(hit.id)}`, title: hit.path || hit.text || hit.id });
  if (hit.path) node.append(picture(answer.index, hit));
  else node.append(make("p", { textContent: hit.text || hit.id }));
  const bar = make("span", { className: "bar" });
  bar.style.setProperty("--near", `${100 * (1 - hit.distance / answer.num_bits)}%`);
  const distance = make("b", { textContent: inBits(hit.distance) });
  const labels = make("span", { textContent: hit.labels.join(", ") || "no label" });
  node.append(bar, make("div", {}, distance, labels, make("span", { textContent: hit.id })));
  return node;
};

const picture = (index, hit) => {
  const image = make("img", { alt: hit.id, loading: "lazy" });
  image.onload = () => image.classList.toggle("small", image.naturalWidth < 64);
  const url = `thumbnail?${new URLSearchParams({ id: hit.id, index })}`;
  if (!token) image.src = url;
  else call(url).then((response) => response.blob()).then((blob) => {
    pictures.push(image.src = URL.createObjectURL(blob));
  }).catch(() => {});
  return image;
};

const ask = (by, value) => {
  query = { by, value };
  if (by !== "image") $("preview").hidden = true;
  search();
};

const askImage = (file) => {
  if (!file) return;
  if (location.hash) history.pushState(null, "", location.pathname);
  URL.revokeObjectURL($("preview").src);
  $("preview").onload = () => $("preview").classList.toggle("small", $("preview").naturalWidth < 64);
  Object.assign($("preview"), { src: URL.createObjectURL(file), hidden: false });
  ask("image", file);
};

// Ids, texts and codes are in the address: a click on an item is a link, and Back goes back.
const followHash = () => {
  const [, by, value] = /^#(id|text|code)=(.*)$/s.exec(location.hash) || [];
  if (!by) return;
  let plain;
  try { plain = decodeURIComponent(value); } catch { return; }
  if ([...$("by").options].some((option) => option.value === by)) { $("by").value = by; hint(); }
  $("text").value = plain;
  ask(by, plain);
};

let waiting;
const soon = () => { bits(); clearTimeout(waiting); waiting = setTimeout(search, 120); };

addEventListener("hashchange", followHash);
addEventListener("paste", (event) => askImage([...event.clipboardData.files][0]));
addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
addEventListener("dragleave", () => $("drop").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  askImage(event.dataTransfer.files[0]);
});
$("file").addEventListener("change", () => { askImage($("file").files[0]); $("file").value = ""; });
$("by").addEventListener("change", hint);
$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const value = $("text").value.trim();
  if (!value) return;
  const hash = `#${$("by").value}=${encodeURIComponent(value)}`;
  if (hash === location.hash) followHash(); else location.hash = hash;
});
$("access").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", token = $("token").value.trim());
  start();
});
for (const id of ["radius", "top", "label", "unique", "compare"]) $(id).addEventListener("input", soon);
start();
