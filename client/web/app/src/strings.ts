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

export const FIGURES = {
  onDevice: (describing: string, searching: string, sent: string, whole: string) =>
    `Described in ${describing} on this device · searched in ${searching} · sent ${sent} bytes instead of ${whole}`,
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
