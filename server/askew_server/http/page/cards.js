// Photos with their captions. Everything from the server is set as text, never as markup.

import { photoUrl } from "/page/api.js";

export function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

export const titleOf = ({ id, payload }) => (typeof payload.title === "string" && payload.title) || id;

export function itemCard(gallery, item) {
  const card = element("li", "card");
  card.dataset.id = item.id;
  card.append(photo(gallery, item, item.has_photo), caption(item));
  return card;
}

export function hitCard(gallery, hit, rank) {
  const card = element("li", "card hit");
  card.dataset.id = hit.id;
  const score = element("p", "score");
  const meter = element("meter");
  meter.min = 0;
  meter.max = 1;
  meter.value = Math.max(0, hit.score);
  meter.setAttribute("aria-hidden", "true");
  score.append(element("span", "rank", String(rank)), meter, element("output", "", hit.score.toFixed(3)));
  score.querySelector("output").setAttribute("aria-label", `score ${hit.score.toFixed(3)}`);
  card.append(photo(gallery, hit, true), score, caption(hit));
  return card;
}

function photo(gallery, item, hasPhoto) {
  const frame = element("div", "frame");
  const missing = () => frame.replaceChildren(element("span", "no-photo", "no photo kept"));
  if (!hasPhoto) {
    missing();
    return frame;
  }
  const image = element("img");
  image.loading = "lazy";
  image.decoding = "async";
  image.alt = titleOf(item);
  image.addEventListener("error", missing);
  image.src = photoUrl(gallery, item.id);
  frame.append(image);
  return frame;
}

function caption(item) {
  const made = element("div", "caption");
  made.append(element("h3", "title", titleOf(item)));
  const { author, licence, source } = item.payload;
  const parts = [author, licence].filter((part) => typeof part === "string" && part);
  if (parts.length || isWebAddress(source)) {
    const credit = element("p", "credit", parts.join(" · "));
    if (isWebAddress(source)) {
      const link = element("a", "", "source");
      link.href = source;
      link.target = "_blank";
      link.rel = "noopener noreferrer";
      link.setAttribute("aria-label", `source of ${titleOf(item)}`);
      credit.append(parts.length ? " · " : "", link);
    }
    made.append(credit);
  }
  return made;
}

// A payload is untrusted text: javascript: and similar URLs must never become a link.
const isWebAddress = (text) => typeof text === "string" && /^https?:\/\//i.test(text);
