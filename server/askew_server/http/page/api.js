// The page's requests to the server. Every failure becomes a Problem with a sentence for the user.

export class Problem extends Error {
  constructor(title, detail, link = null) {
    super(detail);
    this.title = title;
    this.link = link;
  }
}

const galleryPath = (gallery) => `/v1/galleries/${encodeURIComponent(gallery)}`;

export const photoUrl = (gallery, id) => `${galleryPath(gallery)}/items/${encodeURIComponent(id)}/photo`;

export const listGalleries = async () => (await ask("/v1/galleries")).json();

export const listEncoders = async () => (await ask("/v1/encoders")).json();

export async function listItems(gallery, cursor, limit) {
  const query = new URLSearchParams({ limit });
  if (cursor) query.set("cursor", cursor);
  return (await ask(`${galleryPath(gallery)}/items?${query}`)).json();
}

export async function searchPhoto(gallery, photo, encoder, limit, signal) {
  const query = new URLSearchParams({ limit });
  if (encoder) query.set("encoder", encoder);
  const response = await ask(`${galleryPath(gallery)}/search/photo?${query}`, {
    method: "POST",
    body: photo,
    headers: { "Content-Type": photo.type || "application/octet-stream" },
    signal,
  });
  return { ...(await response.json()), timings: readTimings(response.headers.get("Server-Timing")) };
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("No connection", "The server did not answer. Is it still running?");
  }
  if (response.ok) return response;
  throw await readProblem(response);
}

async function readProblem(response) {
  let problem = {};
  try {
    problem = await response.json();
  } catch {
    // A proxy in front of the server may answer with its own error page.
  }
  const type = typeof problem.type === "string" ? problem.type : "";
  // Link only to the server's own explanations: any other URL could lead anywhere.
  const link = /^\/problems\/[a-z-]+$/.test(type) ? type : null;
  return new Problem(
    problem.title || `The server answered ${response.status}`,
    problem.detail || "It gave no reason.",
    link,
  );
}

// "describe;dur=31.2, search;dur=0.4" -> [{name: "describe", ms: 31.2}, {name: "search", ms: 0.4}]
function readTimings(header) {
  return (header || "")
    .split(",")
    .map((part) => /^\s*([\w-]+).*?;\s*dur=([\d.]+)/.exec(part))
    .filter(Boolean)
    .map(([, name, ms]) => ({ name, ms: Number(ms) }));
}
