/** Photos dropped onto a gallery: sent as forms of many photos, then described by jobs of the server. */

import { make, makeButton } from "../../../common/dom.js";
import type { Gallery, Job, Payload } from "../api/index.js";
import type { Context } from "../context.js";
import { makeField, makeForm, makeHint, makeLink } from "../parts/controls.js";
import { followJob } from "../parts/job-progress.js";
import { whenThereIsRoom } from "../parts/waiting.js";
import { formatBytes } from "../numbers.js";
import { routeTo } from "../route.js";
import { COMMON, UPLOAD } from "../strings.js";
import { parsePayload } from "./payload.js";

/** One form holds at most so much, so that a broken connection costs little. */
const PHOTOS_IN_A_FORM = 500;
const BYTES_IN_A_FORM = 500e6;

interface Upload {
  readonly element: HTMLElement;
  /** Take photos that are dropped onto an element. */
  acceptDrops(zone: HTMLElement): void;
}

export function makeUpload(context: Context, gallery: Gallery): Upload {
  const panel = make("div", "upload");
  if (!gallery.describes_photos) {
    panel.append(makeHint(UPLOAD.impossible));
    return { element: panel, acceptDrops: () => {} };
  }
  const input = make("input");
  input.type = "file";
  input.multiple = true;
  input.accept = "image/*";
  input.id = "upload-input";
  input.hidden = true;
  input.setAttribute("aria-label", UPLOAD.choose);
  const choose = makeButton(UPLOAD.choose, () => input.click());
  choose.classList.add("small");
  const start = make("div", "row", choose, input, makeHint(UPLOAD.hint));
  panel.append(start);
  const take = (files: readonly File[]): void => {
    if (files.length === 0) return;
    panel.replaceChildren(makeOffer(context, gallery, files, panel));
    panel.querySelector("button")?.focus();
  };
  input.addEventListener("change", () => take([...(input.files ?? [])]));
  return { element: panel, acceptDrops: (zone) => listenForDrops(zone, take, () => context.notices.fail(new Error(UPLOAD.folder))) };
}

function listenForDrops(zone: HTMLElement, take: (files: readonly File[]) => void, onFolder: () => void): void {
  const holdsFiles = (event: DragEvent): boolean => event.dataTransfer?.types.includes("Files") ?? false;
  zone.classList.add("drop-zone");
  for (const kind of ["dragenter", "dragover"] as const) {
    zone.addEventListener(kind, (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      zone.classList.add("over");
    });
  }
  zone.addEventListener("dragleave", (event) => {
    if (!zone.contains(event.relatedTarget as Node | null)) zone.classList.remove("over");
  });
  zone.addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    zone.classList.remove("over");
    const isFolder = [...(event.dataTransfer?.items ?? [])].some((each) => each.webkitGetAsEntry()?.isDirectory);
    if (isFolder) onFolder();
    else take([...(event.dataTransfer?.files ?? [])]);
  });
}

/** What would be sent, before it is: photos replace items of the same names. */
function makeOffer(context: Context, gallery: Gallery, files: readonly File[], panel: HTMLElement): HTMLElement {
  const names = new Set(files.map(({ name }) => name));
  const payload = make("textarea", "mono");
  payload.rows = 2;
  payload.placeholder = UPLOAD.payloadExample;
  const form = makeForm(
    context.notices,
    UPLOAD.send(files.length),
    async () => {
      if (names.size < files.length) throw new Error(UPLOAD.sameNames);
      const wanted = payload.value.trim() ? parsePayload(payload.value) : undefined;
      await send(context, gallery, files, wanted, panel);
    },
    make("p", "strong", UPLOAD.offer(files.length, formatBytes(sizeOf(files)))),
    makeHint(UPLOAD.replaces),
    makeField(UPLOAD.payload, payload),
  );
  form.id = "upload-offer";
  const cancel = makeButton(COMMON.cancel, context.refresh);
  cancel.classList.add("small");
  form.lastElementChild?.append(cancel);
  return form;
}

async function send(
  context: Context,
  gallery: Gallery,
  files: readonly File[],
  payload: Payload | undefined,
  panel: HTMLElement,
): Promise<void> {
  // Another view does not stop the upload; leaving the page would, so the browser asks first.
  const stop = new AbortController();
  const warn = (event: BeforeUnloadEvent): void => event.preventDefault();
  addEventListener("beforeunload", warn);
  const bar = make("progress");
  bar.setAttribute("aria-label", UPLOAD.progress);
  const text = make("p", "hint", UPLOAD.sending("0", formatBytes(0)));
  const cancel = makeButton(COMMON.cancel, () => stop.abort());
  cancel.classList.add("small");
  const jobs = make("div", "jobs");
  panel.replaceChildren(make("div", "row", bar, text, cancel), jobs);
  panel.dataset["upload"] = "sending";
  const whole = sizeOf(files);
  let before = 0;
  const ended: Job[] = [];
  let begun = 0;
  try {
    for (const part of inForms(files)) {
      const partSize = sizeOf(part);
      const progress = (sent: number, total: number): void => {
        const done = before + (total > 0 ? (partSize * sent) / total : 0);
        bar.max = Math.max(1, whole);
        bar.value = done;
        text.textContent = UPLOAD.sending(formatBytes(done), formatBytes(whole));
      };
      const job = await whenThereIsRoom(
        () => context.api.items.sendPhotos(gallery.name, part, payload, progress, stop.signal),
        stop.signal,
        (seconds) => (text.textContent = UPLOAD.waiting(seconds)),
      );
      before += partSize;
      begun += 1;
      jobs.append(
        followJob(context, job, (end) => {
          ended.push(end);
          jobs.append(...makeResult(end));
          if (panel.dataset["upload"] === "sent" && ended.length === begun) finish(context, panel);
        }),
      );
    }
  } catch (error) {
    text.textContent = stop.signal.aborted ? UPLOAD.stopped : UPLOAD.failed;
    cancel.replaceWith(makeShowItems(context));
    if (stop.signal.aborted) return;
    throw error;
  } finally {
    removeEventListener("beforeunload", warn);
  }
  bar.value = bar.max;
  text.textContent = UPLOAD.sent(files.length, formatBytes(whole));
  cancel.remove();
  if (context.signal.aborted) context.notices.say(UPLOAD.sent(files.length, formatBytes(whole)));
  panel.dataset["upload"] = "sent";
  if (ended.length === begun) finish(context, panel);
}

const sizeOf = (files: readonly File[]): number => files.reduce((sum, { size }) => sum + size, 0);

function inForms(files: readonly File[]): File[][] {
  const forms: File[][] = [];
  for (const file of files) {
    const last = forms.at(-1);
    if (!last || last.length === PHOTOS_IN_A_FORM || sizeOf(last) + file.size > BYTES_IN_A_FORM) forms.push([file]);
    else last.push(file);
  }
  return forms;
}

function makeResult({ state, result, problem }: Job): Node[] {
  if (state !== "done") return [make("p", "notice", problem?.detail ?? UPLOAD.notDone(state))];
  const { described = 0, known = 0, refused = 0, reasons } = result as Readonly<Record<string, unknown>>;
  const shown: Node[] = [make("p", "strong", UPLOAD.result(Number(described), Number(known), Number(refused)))];
  const why = Object.entries((reasons ?? {}) as Readonly<Record<string, unknown>>);
  if (why.length > 0) shown.push(make("ul", "notice", ...why.slice(0, 20).map(([id, reason]) => make("li", "", `${id}: ${String(reason)}`))));
  return shown;
}

/** What was refused stays to be read; the list is shown anew when the operator asks for it. */
function finish(context: Context, panel: HTMLElement): void {
  panel.dataset["upload"] = "done";
  panel.append(make("div", "row", makeShowItems(context), makeLink(UPLOAD.allJobs, routeTo(["jobs"]))));
}

function makeShowItems(context: Context): HTMLElement {
  const show = makeButton(UPLOAD.showItems, context.refresh);
  show.classList.add("small", "primary");
  return show;
}
