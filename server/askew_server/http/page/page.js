// The page at `/`: shows a gallery, and searches it with a photo that the server describes.

import { Problem, listEncoders, listGalleries, listItems, searchPhoto } from "/page/api.js";
import { element, hitCard, itemCard } from "/page/cards.js";

const ITEMS_A_PAGE = 48;
const HITS = 12;
const at = (id) => document.getElementById(id);

const state = { galleries: [], encoders: [], gallery: null, cursor: null, photo: null, searching: null };

async function start() {
  const [{ galleries, default_gallery }, { encoders }] = await Promise.all([listGalleries(), listEncoders()]);
  state.galleries = galleries;
  state.encoders = encoders;
  at("gallery").replaceChildren(...galleries.map(({ name }) => option(name, name)));
  at("gallery-choice").hidden = galleries.length < 2;
  const first = galleries.find(({ name }) => name === default_gallery) || galleries[0];
  if (!first) {
    at("empty").hidden = false;
    return;
  }
  at("gallery").value = first.name;
  await openGallery(first);
}

async function openGallery(gallery) {
  state.gallery = gallery;
  state.cursor = null;
  at("gallery-facts").textContent =
    `${gallery.name}: ${count(gallery.items, "item")}, described once by ${gallery.teacher}`;
  listEncodersOf(gallery);
  at("items").replaceChildren();
  at("empty").hidden = gallery.items > 0;
  await showMore();
}

function listEncodersOf(gallery) {
  // The server lists the newest first; by default a student describes the query.
  const students = state.encoders.filter(({ role, galleries }) => role === "student" && galleries.includes(gallery.name));
  const choices = students.map(({ id }) => option(id, `${id} (student)`));
  choices.push(option(gallery.teacher, `${gallery.teacher} (teacher)`));
  at("encoder").replaceChildren(...choices);
  explainEncoder();
}

function explainEncoder() {
  at("encoder-note").textContent =
    at("encoder").value === state.gallery.teacher
      ? "Symmetric: query and gallery are described by the same encoder."
      : "Asymmetric: the small student describes your photo in the space of the teacher, which described the gallery.";
}

async function showMore() {
  const button = at("more");
  const gallery = state.gallery.name;
  button.disabled = true;
  try {
    const page = await listItems(gallery, state.cursor, ITEMS_A_PAGE);
    if (gallery !== state.gallery.name) return;
    at("items").append(...page.items.map((item) => itemCard(gallery, item)));
    state.cursor = page.next_cursor ?? null;
    button.hidden = !state.cursor;
  } finally {
    button.disabled = false;
  }
}

async function search() {
  if (!state.photo || !state.gallery) return;
  state.searching?.abort();
  const searching = new AbortController();
  state.searching = searching;
  closeBanner();
  at("results-section").hidden = false;
  at("results").replaceChildren();
  at("status").textContent = "Searching …";
  at("search").setAttribute("aria-busy", "true");
  const gallery = state.gallery.name;
  const began = performance.now();
  try {
    const answer = await searchPhoto(gallery, state.photo, at("encoder").value, HITS, searching.signal);
    showAnswer(gallery, answer, performance.now() - began);
  } catch (error) {
    if (error.name === "AbortError") return;
    at("results-section").hidden = true;
    throw error;
  } finally {
    if (state.searching === searching) at("search").removeAttribute("aria-busy");
  }
}

function showAnswer(gallery, answer, elapsed) {
  at("results").replaceChildren(...answer.hits.map((hit, index) => hitCard(gallery, hit, index + 1)));
  const timings = answer.timings.map(({ name, ms }) => `${name} ${milliseconds(ms)}`);
  const times = timings.length ? timings.join(", ") : milliseconds(elapsed);
  const by = answer.encoder ? `, described by ${answer.encoder}` : "";
  at("status").textContent = `${count(answer.hits.length, "hit")}${by}: ${times}`;
  at("results-section").scrollIntoView({ block: "nearest" });
}

function takePhoto(file) {
  if (!file) return;
  state.photo = file;
  const query = at("query");
  URL.revokeObjectURL(query.src);
  query.src = URL.createObjectURL(file);
  query.hidden = false;
  at("drop-text").textContent = file.name || "Pasted photo";
  attempt(search);
}

function showProblem(problem) {
  at("banner-title").textContent = problem.title;
  at("banner-detail").textContent = problem.message;
  const link = at("banner-link");
  link.hidden = !problem.link;
  if (problem.link) link.href = problem.link;
  at("banner").hidden = false;
  at("banner").scrollIntoView({ block: "nearest" });
}

function closeBanner() {
  at("banner").hidden = true;
}

function attempt(action) {
  Promise.resolve()
    .then(action)
    .catch((error) => {
      showProblem(error instanceof Problem ? error : new Problem("The page failed", String(error)));
    });
}

function option(value, text) {
  const made = element("option", "", text);
  made.value = value;
  return made;
}

const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
const milliseconds = (ms) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;

at("photo").addEventListener("change", ({ target }) => {
  takePhoto(target.files[0]);
  // Reset the input, so that choosing the same file again starts a search.
  target.value = "";
});
at("query").addEventListener("error", () => {
  at("query").hidden = true;
});
at("encoder").addEventListener("change", () => {
  explainEncoder();
  attempt(search);
});
at("gallery").addEventListener("change", () => {
  at("results-section").hidden = true;
  attempt(() => openGallery(state.galleries.find(({ name }) => name === at("gallery").value)));
});
at("more").addEventListener("click", () => attempt(showMore));
at("banner-close").addEventListener("click", closeBanner);
at("search").addEventListener("submit", (event) => event.preventDefault());

// The whole page accepts a dropped photo: one that misses the frame must not make the browser leave the page.
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  at("drop").classList.add("over");
});
for (const left of ["dragleave", "drop"]) {
  document.addEventListener(left, () => at("drop").classList.remove("over"));
}
document.addEventListener("drop", (event) => {
  event.preventDefault();
  takePhoto(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => takePhoto(event.clipboardData.files[0]));

attempt(start);
