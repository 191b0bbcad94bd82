/** Every English string of the operator's view. */

import type { IndexKind, Job, JobState, Runtime, Scope } from "./api/index.js";
import type { Operator } from "./sections/filter.js";
import type { Access } from "./session.js";

const plural = (count: number, one: string, many: string): string =>
  `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

export const SHELL = {
  brand: "Askew admin",
  skip: "Skip to the content",
  forgetKey: "Forget the key",
  navigation: "Views",
  title: (view: string) => `${view} · Askew admin`,
  unknownView: "No such view",
  unknownViewDetail: "The address names no view of this page.",
};

export const NAVIGATION = {
  galleries: "Galleries",
  jobs: "Jobs",
  live: "Live",
  aliases: "Aliases",
  keys: "Keys",
};

export const COMMON = {
  close: "Close",
  cancel: "Cancel",
  delete: "Delete",
  retry: "Try again",
  yes: "yes",
  no: "no",
  none: "none",
  unknown: "unknown",
  loading: "Loading …",
  failed: "That failed",
  typeToConfirm: (name: string) => `Type ${name} to confirm`,
  sent: (done: string, total: string) => `Sent ${done} of ${total}`,
};

export const ACCESS = {
  keyHeading: "This server needs a key",
  keyLabel: "Admin key",
  keyHint: "It needs the scope admin. It is kept for this tab's session only, and sent to this server only.",
  keySubmit: "Use this key",
  keyRefused: "The key was not accepted",
  keyWithoutAdmin: (scopes: readonly string[]) =>
    `This view needs a key with the scope admin; this key has ${scopes.join(", ")}. Use another key.`,
  open: "No key: everybody who reaches this server may do everything",
  withKey: (id: string, access: Access) =>
    access.kind === "limited" ? `Key ${id}, limited to ${access.galleries.join(", ")}` : `Key ${id}`,
  limitedTo: (galleries: readonly string[]) =>
    `Your key is limited to ${galleries.join(", ")}, so others are not shown.`,
  beyondKey: "Your key is limited to some galleries, and this is about the whole server. It needs an admin key without limits.",
  metricsBeyondKey:
    "Your key is limited to some galleries. The live charts count the searches of all galleries, so they need an admin key without limits.",
};

export const GALLERIES = {
  name: "Name",
  nameHint: "Lower-case letters, digits, - and _; at most 63.",
  items: "Items",
  photos: "Photos",
  index: "Index",
  teacher: "Teacher",
  students: "Encoders",
  space: "Space",
  isDefault: "default",
  alias: (alias: string) => `alias ${alias}`,
  none: "There is no gallery yet. Create one with a teacher's encoder file.",
  create: "Create a gallery",
  created: (name: string) => `Gallery ${name} is ready.`,
  teacherFile: "The teacher's encoder file",
  teacherFileHint: "An .onnx file of a teacher. The server describes the gallery's photos with it.",
  checking: "The server checks the encoder …",
  damaged: "Damaged galleries",
  damagedHint: "They are set aside; the others serve. Examine them with `askew doctor`, or restore a snapshot under their names.",
};

export const SECTIONS = { overview: "Overview", items: "Items", encoders: "Encoders", snapshots: "Snapshots" };

export const GALLERY = {
  crumbs: "Where you are",
  sections: (name: string) => `Sections of ${name}`,
  counts: (items: string, photos: string) => `${items} items, ${photos} photos`,
  facts: "Facts",
  describes: "Describes photos",
  describesNot: "no: the server does not have the teacher's file",
  dimension: "Dimension",
  photoSize: "Photo size",
  pixels: (size: number, scales: string) => `${size} px, scales ${scales}`,
  students: "Students",
  aliases: "Aliases",
  sequence: "Changes so far",
  danger: "Delete",
  delete: "Delete this gallery",
  deleteHint: "With all its items, photos, encoders and snapshots. The server refuses while an alias names it, while it is the default, or while a job works on it.",
  deleteTitle: (name: string) => `Delete gallery ${name}?`,
  deleteText: "All its items, photos, encoders and snapshots are deleted. This cannot be undone.",
  deleted: (name: string) => `Gallery ${name} is deleted.`,
};

const KINDS: Readonly<Record<IndexKind, string>> = {
  auto: "automatic, by size",
  exact: "exact",
  "two-stage": "two-stage",
  "ivf-two-stage": "ivf-two-stage",
  "gpu-exact": "gpu-exact",
};

export const INDEX = {
  heading: "Index",
  kinds: KINDS,
  state: "State",
  ready: "ready",
  unverified: "being checked",
  building: "building",
  failed: "failed",
  kind: "Kind",
  kindOf: (kind: IndexKind, wanted: IndexKind, chosen: IndexKind) =>
    kind === chosen ? `${kind} (wanted: ${KINDS[wanted]})` : `${kind}; ${chosen} is to come (wanted: ${KINDS[wanted]})`,
  recall: "Recall@10",
  recallExact: "1: every search is exact",
  coverage: "Covers",
  coverageOf: (main: string, tail: string, removed: string) => `${main} built in, ${tail} added since, ${removed} removed`,
  memory: "Memory",
  memoryOf: (memory: string, mapped: string) => `${memory}, and ${mapped} in mapped files`,
  generation: "Rebuilt",
  failure: "Last failure",
  wanted: "Kind of index",
  choose: "Use this kind",
  chosen: (kind: string) => `The index is to be ${kind}.`,
  rebuild: "Rebuild",
  rebuildHint: "In the background, without removed vectors. Searches continue.",
};

export const ITEMS = {
  heading: "Items",
  none: "This gallery is empty. Drop photos here, or index a folder with `askew index`.",
  noneMatch: "No item matches this filter.",
  noPhoto: "no photo",
  photoUnreadable: "the photo cannot be shown",
  photoOf: (id: string) => `Photo of ${id}`,
  select: (id: string) => `Select ${id}`,
  selected: (count: number) => `${plural(count, "item", "items")} selected`,
  deleteSelected: "Delete the selected",
  deleteTitle: (count: number) => `Delete ${plural(count, "item", "items")}?`,
  deleteText: "Their photos, vectors and payloads are deleted. This cannot be undone.",
  deleted: (count: number) => `${plural(count, "item is", "items are")} deleted.`,
  deleteMatching: "Delete all that match",
  deleteMatchingHint: "All items that match the filter, on all pages.",
  deleteMatchingTitle: "Delete all items that match?",
  deleteMatchingText: (filter: string) => `Every item that matches ${filter} is deleted, on all pages. This cannot be undone.`,
  pages: "Pages of items",
  onPage: (count: string) => `${count} on this page`,
  firstPage: "First page",
  previousPage: "Previous page",
  nextPage: "Next page",
};

export const ITEM = {
  back: "All items",
  payload: "Payload",
  noPayload: "This item has no payload.",
  payloadJson: "Payload, as JSON",
  payloadHint: "An object. The vector and the photo stay as they are.",
  photoSha256: "SHA-256 of the photo",
  edit: "Edit the payload",
  save: "Save",
  saved: "The payload is saved.",
  delete: "Delete this item",
  deleteText: (id: string) => `The photo, vector and payload of ${id} are deleted. This cannot be undone.`,
  similar: "Similar items",
  nothingSimilar: "This gallery has nothing else to compare with it.",
  score: (score: string) => `score ${score}`,
  notJson: (reason: string) => `Expected a payload as JSON, got text that is not JSON (${reason}). Mend it and try again.`,
  longNumber:
    "The payload has a number with more digits than a browser keeps. Edit it with the Python client, so that it stays as it is.",
  notAnObject: 'Expected a JSON object such as {"room": 4}. Mend it and try again.',
};

export const FILTER = {
  field: "Field",
  operator: "Comparison",
  value: "Value",
  values: "Values, with commas between them",
  operators: {
    eq: "is",
    ne: "is not",
    in: "is one of",
    gt: "is above",
    gte: "is at least",
    lt: "is below",
    lte: "is at most",
    exists: "exists",
    lacks: "is missing",
  } satisfies Record<Operator, string>,
  add: "Add a condition",
  remove: "Remove",
  apply: "Filter",
  clear: "Show all",
  json: "As JSON",
  jsonLabel: "Filter, as JSON",
  jsonHint: "Made from the rows above. and, or, not can be written here.",
  invalid: "Expected a filter as JSON, got text that is not JSON. Mend it and try again.",
};

export const UPLOAD = {
  choose: "Add photos",
  hint: "Or drop them anywhere on this section. The file's name becomes the item's id.",
  impossible: "This server does not have the teacher's file, so it cannot describe photos. Items come with vectors, from elsewhere.",
  offer: (count: number, size: string) => `${plural(count, "photo", "photos")}, ${size}`,
  replaces: "Items of the same names are replaced, with their payloads.",
  payload: "Payload of each of them, as JSON (optional)",
  payloadExample: '{"room": 4}',
  send: (count: number) => `Upload ${plural(count, "photo", "photos")}`,
  sameNames: "Two of these files have the same name, and so would have the same id. Rename one, or upload them one after the other.",
  progress: "Progress of the upload",
  sending: (done: string, total: string) => `Sending: ${done} of ${total}`,
  sent: (count: number, size: string) => `${plural(count, "photo", "photos")} sent, ${size}. The server describes them.`,
  folder: "A folder was dropped. Drop the photos in it, or index it with `askew index`.",
  waiting: (seconds: number) => `The server is busy. The upload goes on in ${seconds} s …`,
  stopped: "Stopped. What was sent before is described all the same.",
  failed: "The upload failed. What was sent before is described all the same.",
  notDone: (state: JobState) => `The job is ${state}.`,
  result: (described: number, known: number, refused: number) =>
    `${described} described, ${known} known already, ${refused} refused`,
  showItems: "Show the items",
  allJobs: "All jobs",
};

export const ENCODERS = {
  choices: "Encoder for each runtime",
  choicesHint: "What GET /v1/encoders/best answers. Without a choice, it is the student with the best recall@10 that fits the device.",
  runtimes: { web: "Web", ios: "iOS", android: "Android", python: "Python" } satisfies Record<Runtime, string>,
  automatic: (id: string) => `automatic: ${id}`,
  defaultSet: (id: string, runtime: Runtime) => `${id} is the default for ${runtime}.`,
  defaultFor: (runtime: Runtime) => `default for ${runtime}`,
  roles: { teacher: "teacher", student: "student" },
  admitted: "Admitted",
  size: "Size",
  photoSize: "Photo size",
  precision: "Precision",
  dimension: "Dimension",
  sha256: "SHA-256",
  file: "The file",
  teacherHint: "It defines the space, so it needs no admission.",
  noReport: "There is no report of its admission.",
  retire: "Retire",
  retireTitle: (id: string) => `Retire ${id}?`,
  retireText: "Its queries are refused from now on, with the names of its successors, and its file is removed.",
  retired: (id: string) => `${id} is retired.`,
  admit: "Admit a student",
  admitFile: "The student's encoder file",
  admitHint: "The gate lets it describe photos of this gallery and compares the vectors with the teacher's. That takes seconds.",
  examining: "The gate examines it …",
  isAdmitted: (id: string) => `${id} is admitted.`,
};

export const REPORT = {
  refused: "refused",
  ofGallery: (gallery: string) => `This report was made in gallery ${gallery}.`,
  meanCosine: "Mean cosine",
  meanCosineOthers: "Cosine with others",
  selfRecall: "Finds itself",
  recallAt1: "Recall@1",
  recallAt10: "Recall@10",
  milliseconds: "Per photo",
  floor: (floor: string) => `at least ${floor}`,
  fromProbes: "of the probe set",
  fromItems: "of the gallery's items",
  measured: (probes: string, from: string) =>
    `Measured on ${probes} photos ${from}. Cosines are between its vectors and the teacher's; recall is how many of the items that the teacher finds it finds too.`,
  matches: "Matches",
  others: "Non-matches",
  threshold: "5 % of non-matches above",
  axis: "score",
  range: (median: string, low: string, high: string) => `median ${median}, 5 to 95 %: ${low} to ${high}`,
  drawingLabel: (matches: string, others: string | undefined) =>
    others === undefined
      ? `Scores of matches: median ${matches}`
      : `Scores of matches, median ${matches}, and of non-matches, median ${others}`,
  drawnFrom: "Share of scores in each step of 0.02, drawn from the 101 percentiles that the report keeps.",
};

const STATES: Readonly<Record<JobState, string>> = {
  waiting: "waiting",
  running: "running",
  done: "done",
  failed: "failed",
  cancelled: "cancelled",
};

const JOB_KINDS: Readonly<Record<string, string>> = {
  photos: "Describe photos",
  redescribe: "Re-describe",
  "rebuild-index": "Rebuild the index",
  snapshot: "Make a snapshot",
  "verify-snapshot": "Verify a snapshot",
  restore: "Restore a snapshot",
};

const jobKind = (kind: string): string => JOB_KINDS[kind] ?? kind;

const jobCounts = ({ done, total }: Job): string =>
  total == null ? done.toLocaleString("en") : `${done.toLocaleString("en")} of ${total.toLocaleString("en")}`;

export const JOBS = {
  hint: "The newest 200. This list follows them while it is seen.",
  job: "Job",
  gallery: "Gallery",
  stateName: "State",
  created: "Created",
  started: "Started",
  endedAt: "Ended",
  progress: "Progress",
  problem: "Problem",
  result: "Result",
  actions: "Actions",
  facts: "Facts",
  id: "Id",
  back: "All jobs",
  noJobs: "No job has run yet.",
  states: STATES,
  kind: jobKind,
  name: ({ kind, gallery }: Job) => `${jobKind(kind)} · ${gallery}`,
  counts: jobCounts,
  state: (job: Job) => `${STATES[job.state]}, ${jobCounts(job)}`,
  ended: (job: Job) => `${jobKind(job.kind)}: ${STATES[job.state]}`,
  progressOf: ({ kind, gallery }: Job) => `Progress of: ${jobKind(kind)}, ${gallery}`,
  notRead: (reason: string) => `The job's state cannot be read at the moment: ${reason}`,
  cancel: "Cancel the job",
  cancelTitle: ({ kind }: Job) => `Cancel “${jobKind(kind)}”?`,
  cancelText: "What it has committed stays.",
  isCancelled: "The job is cancelled.",
};

export const ALIASES = {
  hint: "An alias works wherever a gallery's name does. Moving it switches all searches at once.",
  alias: "Alias",
  aliasHint: "Lower-case letters, digits, - and _.",
  gallery: "Gallery",
  move: "Move to",
  moveLabel: (alias: string) => `Gallery of ${alias}`,
  moveAction: "Move",
  moveTitle: (alias: string, gallery: string) => `Move ${alias} to ${gallery}?`,
  moveText: (alias: string, before: string, after: string) =>
    `Requests for ${alias} that begin from then on are answered from ${after} instead of ${before}. None fails in between.`,
  actions: "Actions",
  none: "There is no alias yet.",
  create: "Set an alias",
  created: (alias: string, gallery: string) => `${alias} names ${gallery} now.`,
  moved: (alias: string, before: string, after: string) => `${alias} names ${after} now, and no longer ${before}.`,
  deleteTitle: (alias: string) => `Delete the alias ${alias}?`,
  deleteText: "Requests that use it are refused from then on. Its gallery stays.",
  deleted: (alias: string) => `The alias ${alias} is deleted.`,
};

export const SNAPSHOTS = {
  heading: "Snapshots",
  hint: "One file with the gallery as it is now. Reads and writes continue.",
  name: "Name",
  created: "Made",
  size: "Size",
  actions: "Actions",
  none: "There is no snapshot of this gallery yet.",
  create: "Make a snapshot",
  download: "Download",
  fetching: (size: string) => `Fetching the snapshot, ${size} …`,
  verify: "Verify",
  restore: "Restore",
  restoreTitle: (name: string) => `Restore ${name}`,
  restoreInto: "Name of the new gallery",
  restoreHint: "A new name. To return to this state, restore it under a new name and move an alias.",
  deleteTitle: (name: string) => `Delete the snapshot ${name}?`,
  deleteText: "Its file is deleted. This cannot be undone.",
  deleted: (name: string) => `The snapshot ${name} is deleted.`,
};

export const KEYS = {
  hint: "A key is shown once, when it is created. Lists and logs name it by its id.",
  openHint: "This server has no key: everybody who reaches it may do everything.",
  firstKey: "From the first key on, every call needs a key. The first one is an admin key without limits, and this session goes on with it.",
  name: "Name",
  nameHint: "Who uses it, for people.",
  id: "Id",
  scope: "Scope",
  scopes: {
    search: "search: search, and read galleries and items",
    write: "write: also change and list items, and follow jobs",
    admin: "admin: everything",
  } satisfies Record<Scope, string>,
  galleries: "Galleries",
  allGalleries: "all",
  limitTo: "Limited to these galleries",
  limitHint: "None ticked: all galleries. A limited key cannot see the others.",
  rate: "Requests a second",
  rateHint: "Empty: no limit.",
  noLimit: "no limit",
  perSecond: (rate: number) => `${rate.toLocaleString("en")} a second`,
  expires: "Expires",
  expiresHint: "In your time zone. Empty: never.",
  never: "never",
  expired: "expired",
  actions: "Actions",
  none: "There is no key.",
  create: "Create a key",
  createdTitle: (name: string) => `The key “${name}”`,
  shownOnce: "It is shown only now: the server keeps no copy of it.",
  copy: "Copy",
  copied: "Copied.",
  notCopied: "This browser does not let the page copy here. The key is marked: copy it by hand.",
  kept: "I have kept it",
  revoke: "Revoke",
  revokeTitle: (name: string) => `Revoke the key “${name}”?`,
  revokeText: (id: string) => `Key ${id} stops working with the next request. This cannot be undone.`,
  revoked: (name: string) => `The key “${name}” is revoked.`,
};

export const LIVE = {
  hint: (seconds: number) => `Read every ${seconds} s while this page is seen, and kept for ten minutes in this tab only.`,
  gallery: "Gallery",
  allGalleries: "All galleries",
  ready: "Answers searches",
  items: "Vectors",
  waiting: "Requests waiting",
  photosWaiting: "Photos waiting",
  jobs: "Jobs unfinished",
  memory: "Memory",
  searches: "Searches a second",
  answered: "answered",
  refused: "not answered",
  total: (count: string) => `${count} answered since the server started.`,
  latency: "Time of searches",
  latencyHint: "All galleries, from a request's first byte to its answer's last. Read from the server's buckets, so it is approximate.",
  rejections: "Rejections a minute",
  foreignSpace: "foreign or missing space",
  tooMany: "too many requests",
  noKey: "no key, or the wrong one",
  rejectionsHint: "Only those of a space are of the chosen gallery; the others are of the whole server.",
  topScores: "Best scores",
  topScoresLabel: (count: number, median: string) => `Scores of the best hits: ${count} since this page was opened, median ${median}`,
  topScoresHint: "The score of each query's best hit. A shift means a new encoder, a new camera, or a gallery that lacks what people look for.",
  thisVisit: "since this page was opened",
  sinceStart: "since the server started",
  expected: "matches at admission",
  score: "score of the best hit",
  chartLabel: (heading: string, latest: string) => `${heading}: ${latest}`,
  ago: (minutes: number) => `${plural(minutes, "minute", "minutes")} ago`,
  now: "now",
};
