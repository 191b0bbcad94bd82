/** Every English string of the app. Strings in `PAGE` fill the elements of index.html that name them. */

/** Texts of `data-text`, and accessible names of `data-label`. */
export const PAGE = {
  skip: "Skip to the results",
  gallery: "Gallery",
  settings: "Settings",
  close: "Close",
  queryHeading: "Search with a photo",
  welcome: "Photograph it, and see what it is.",
  welcomeHint: "Or drop or paste a photo here.",
  takePhoto: "Take photo",
  choosePhoto: "Choose photo",
  cancel: "Cancel",
  shoot: "Take the photo",
  torch: "Light",
  viewfinder: "Live picture of the camera",
  crop: "Crop",
  wholePhoto: "Whole photo",
  cropHelp: "Arrow keys move the crop. Shift and arrow keys resize it. Escape returns to the whole photo.",
  insecure:
    "This address is not secure (it has no https): there is no live camera and no offline use, and the encoder is " +
    "fetched at each visit.",
  progress: "Progress of fetching the encoder",
  back: "Back",
  showNearest: "Show the nearest anyway",
  showMore: "Show more",
  moreLikeThis: "More like this",
  keyLabel: "Key of this server",
  keyHint: "It stays on this device and is sent to this server only.",
  keySubmit: "Use this key",
  threshold: "How sure a hit must be",
  forgetKey: "Forget the key",
  settingsGallery: "This gallery",
  settingsEncoder: "The encoder on this device",
  settingsKey: "Key",
  settingsOffline: "Without a network",
  earlier: "Earlier searches",
  deleteEarlier: "Delete all of them",
  tryConnection: "Try now",
  newVersion: "There is a new version of this app.",
  takeOver: "Reload",
  footer: "Photos belong to their authors; credits stand under each. This page talks to this server only.",
} as const;

export const PRIVACY = {
  stays: "Your photo stays on this device.",
  sent: "Your photo is sent to the server, because this device does not describe it.",
  refused: "This server does not describe photos, so no photo is sent to it.",
};

export const PROGRESS = {
  choosing: "Looking for an encoder that fits this device …",
  fetching: (done: string, total: string) => `Fetching the encoder: ${done} of ${total}`,
  fetchingStarts: (total: string) => `Fetching the encoder, ${total}.`,
  checking: "Checking that the encoder computes correctly on this device …",
  ready: "Ready. Take or choose a photo.",
  describing: "Looking at your photo …",
  waiting: "Your photo is searched as soon as the encoder is ready …",
  sending: "Sending your photo to the server …",
  similar: "Looking for more like this …",
};

/** The app without a network, and the gallery's copy on this device. */
export const OFFLINE = {
  badge: "Offline",
  badgeWithRecall: (recall: string) => `Offline · recall ${recall}`,
  searchesHere: (items: string, date: string) => `Photos are searched in the copy on this device: ${items} items of ${date}.`,
  searchesLater: "Photos wait on this device as vectors, and are searched when the network is back.",
  nothingYet: "The app goes on as soon as the server answers.",
  none: "This gallery is not offered for use without a network.",
  noneHint: "Without a network, your searches wait on this device until it is back.",
  offered: "Keep this gallery on this device?",
  offeredHint: (items: string, size: string) => `${items} items, ${size}. Photos are then searched here, even without a network.`,
  keep: (size: string) => `Keep it (${size})`,
  dismiss: "Not now",
  fetching: "Fetching the gallery",
  paused: "The gallery is not complete yet",
  interrupted: "The network broke off; it goes on by itself",
  done: (done: string, total: string) => `${done} of ${total} are here.`,
  progress: "Progress of fetching the gallery",
  pause: "Pause",
  goOn: "Go on",
  kept: "This gallery is on this device",
  updating: "This gallery is on this device; a newer version comes",
  keptHint: (items: string, date: string, size: string) => `${items} items of ${date}, ${size}.`,
  recall: (recall: string, at: number) =>
    `It finds ${recall} of the first ${at} hits that the server finds.`,
  failed: "The gallery could not be kept",
  again: "Try again",
  delete: "Delete from this device",
  withdrawn: "The gallery is not offered for use without a network any more; its copy was deleted from this device.",
};

/** Whether the app starts without a network, by the state of its installation. */
export const INSTALLATION = {
  insecure: "This address is not secure, so the app does not start without a network.",
  installing: "The app is being kept on this device …",
  installed: "The app starts without a network.",
  failed: "The browser could not keep the app's files, so it does not start without a network.",
};

/** Searches that waited for a network. */
export const EARLIER = {
  open: (count: number) => (count === 1 ? "1 earlier search" : `${count} earlier searches`),
  waiting: "waits for the network",
  nothing: "nothing found",
  replaced: "The gallery was described anew since then. Take the photo again.",
  refused: (reason: string) => `The server refused it: ${reason}`,
  show: "Show",
  showNamed: (label: string) => `Show what was found for ${label}`,
  delete: "Delete",
  deleteNamed: (label: string) => `Delete ${label}`,
  heading: (label: string) => `Found for ${label}`,
  photo: "Photo",
  part: (label: string) => `Part of ${label}`,
  keptHeading: "Kept for later",
  kept: "Kept as a vector; it will be searched when the network is back. The photo is not kept.",
};

export const FIGURES = {
  onDevice: (describing: string, searching: string, sent: string, whole: string) =>
    `Described in ${describing} on this device · searched in ${searching} · sent ${sent} bytes instead of ${whole}`,
  inPack: (describing: string, searching: string) =>
    `Described in ${describing} · searched on this device in ${searching} · sent 0 bytes`,
  onServer: (answering: string, sent: string) =>
    `Described and searched by the server in ${answering} · sent ${sent} bytes: the photo, without its metadata`,
  encoder: (encoder: string, space: string) => `${encoder} · space ${space}`,
};

export const RESULTS = {
  itemsHeading: (gallery: string) => `In ${gallery}`,
  hitsHeading: "Found",
  nearestHeading: "The nearest",
  nothingHeading: "Nothing found",
  similarHeading: (title: string) => `Like ${title}`,
  nothing: "Nothing in this gallery looks like it.",
  nothingSimilar: "This gallery has nothing else to compare with it.",
  empty: "This gallery is empty.",
  hits: (count: number) => (count === 1 ? "1 hit" : `${count.toLocaleString("en")} hits`),
  items: (count: number) => (count === 1 ? "1 item" : `${count.toLocaleString("en")} items`),
  itemsShown: (shown: number, all: number) => `${shown.toLocaleString("en")} of ${RESULTS.items(all)}`,
  score: (score: string) => `Score ${score}`,
  photoOf: (title: string) => `Photo of ${title}`,
  noPhoto: (title: string) => `${title}: there is no photo`,
  source: "Source",
  sourceOf: (title: string) => `Source of ${title}`,
};

export const CROP = {
  photo: "Your photo",
  name: (left: number, top: number, width: number, height: number) =>
    `Crop: ${width} % of the width and ${height} % of the height, ${left} % from the left, ${top} % from the top`,
};

export const SETTINGS = {
  thresholds: {
    strict: "Strict: 1 % false hits",
    careful: "Careful: 5 % false hits",
    normal: "Normal: 20 % false hits",
    off: "Off: always show the nearest",
  },
  thresholdHint: "The share of photos of things that are not in the gallery which still get a hit.",
  thresholdUnknown: "The server has not measured false hits for this encoder, so the nearest are always shown.",
  name: "Name",
  items: "Items",
  teacher: "Described by",
  space: "Space",
  encoder: "Encoder",
  size: "Size",
  precision: "Precision",
  selfTest: "Self-test",
  selfTestPassed: (distance: string, milliseconds: string) =>
    `passed: at most ${distance} off in cosine distance; loaded in ${milliseconds}`,
  threads: "Threads",
  kept: "Kept for the next visit",
  yes: "yes",
  no: "no",
  noEncoder: "No encoder is open.",
  keyKept: "A key is kept on this device.",
  keyNotKept: "No key is kept on this device.",
};

interface NoticeText {
  readonly title: string;
  readonly detail: string;
}

/** Sentences for failures, by kind. Where a kind is missing, the failure's own title and detail are shown. */
export const FAILURES: Readonly<Record<string, NoticeText>> = {
  "camera-refused": {
    title: "The camera is not allowed",
    detail: "Allow this site to use the camera in the browser's settings, or choose a photo.",
  },
  "no-camera": {
    title: "No camera found",
    detail: "This device has no camera that the browser can use. Choose a photo.",
  },
  "camera-in-use": {
    title: "The camera is in use",
    detail: "Another app or tab uses the camera. Close it and try again, or choose a photo.",
  },
  "out-of-memory": {
    title: "Too little memory",
    detail: "This device has too little memory for this. Close other tabs and try again, or choose a smaller photo.",
  },
  "no-engine": {
    title: "This browser cannot run the encoder",
    detail: "It needs WebAssembly with SIMD. A current browser has it.",
  },
  "open-timeout": {
    title: "The encoder did not start",
    detail: "It took too long on this device. Close other tabs and try again.",
  },
  "encoder-disagrees": {
    title: "This device computes wrongly",
    detail: "The encoder's self-test failed here, so its answers could not be trusted. It is not used.",
  },
  "damaged-encoder": {
    title: "The encoder is damaged",
    detail: "The file that arrived is not the one that the server describes. Try again.",
  },
  "not-an-encoder": {
    title: "The encoder cannot be used",
    detail: "Reload the app. If that does not help, tell the gallery's owner.",
  },
  "unreadable-photo": {
    title: "The photo cannot be read",
    detail: "This browser cannot decode the file. Choose a JPEG, PNG or WebP photo.",
  },
  "photo-too-large": {
    title: "The photo is too large",
    detail: "At most 64 megapixels are allowed. Choose a smaller photo.",
  },
  "photo-too-thin": { title: "The photo is too thin", detail: "Choose a larger part of the photo." },
  "no-encoder-fits": {
    title: "No encoder fits this device",
    detail: "The gallery has no small encoder for this device, so the photo cannot be described here.",
  },
  "space-mismatch": {
    title: "The gallery has changed",
    detail: "It was described by another encoder, and this device has none that fits yet. Try again later.",
  },
  "encoder-not-admitted": {
    title: "The gallery has changed",
    detail: "It does not accept the encoder of this device any more, and has no new one yet. Try again later.",
  },
  "photo-search-off": {
    title: "This server does not describe photos",
    detail: "The photo cannot be searched from this device.",
  },
  "cannot-describe": {
    title: "This server does not describe photos",
    detail: "The gallery has no encoder on the server. The photo cannot be searched from this device.",
  },
  "not-a-pack": { title: "The gallery's copy cannot be read", detail: "Reload the app, so that a newer version is fetched." },
  "damaged-pack": {
    title: "The gallery's copy is damaged",
    detail: "It was deleted from this device, and is fetched again when there is a network.",
  },
  "foreign-pack": {
    title: "The gallery's copy does not fit the encoder",
    detail: "It was described by another encoder. It is replaced when there is a network.",
  },
  "queue-full": {
    title: "50 searches wait already",
    detail: "Delete some of the earlier searches, or wait for the network.",
  },
  unreachable: { title: "No connection", detail: "The server did not answer. Is this device online?" },
  unauthorised: { title: "This gallery needs a key", detail: "Enter the key that you were given." },
  forbidden: {
    title: "Not allowed with this key",
    detail: "The key of this device may not do this here. Ask for another one.",
  },
  "no-gallery": { title: "No gallery yet", detail: "This server has no gallery to search." },
  failed: { title: "The app failed", detail: "Reload the page." },
};

export const NOTICES = {
  keyRefused: "The server does not know this key. Enter another one.",
  busy: "The server is busy",
  unavailable: "The server cannot answer now",
  wait: (seconds: number) => (seconds > 0 ? `It asks to wait for ${seconds === 1 ? "a second" : `${seconds} seconds`}.` : ""),
  notKept: (size: string) =>
    `This browser has no room to keep the encoder (${size}), so the next visit fetches it again. Searching works.`,
  switched: (encoder: string) => `The gallery has a new encoder; switched to ${encoder}.`,
  retry: "Try again",
  retryIn: (seconds: number) => `Try again in ${seconds} s`,
  send: "Send the photo to the server to be described there",
  serverSays: (title: string, detail: string) => `The server says: ${title}. ${detail}`,
};
