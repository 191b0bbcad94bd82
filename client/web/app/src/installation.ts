/** The service worker, seen from the page: whether the app starts without a network, and whether there is a new version. */

/**
 * - `insecure`: browsers offer no service worker at this address
 * - `installing`: the app's files are being kept
 * - `installed`: the app starts without a network
 * - `failed`: its files could not be kept, for example for want of room
 */
export type InstallationState = "insecure" | "installing" | "installed" | "failed";

// A page that stays open for days asks now and then whether there is a new version.
const CHECK_EVERY = 3_600_000;

export class Installation {
  private current: InstallationState = "installing";
  private lastCheck = Date.now();

  /** `onChange`: called with each state. `onNewVersion`: called when a new version waits, with what makes it take over. */
  constructor(
    private readonly onChange: (state: InstallationState) => void,
    private readonly onNewVersion: (takeOver: () => void) => void,
  ) {}

  get state(): InstallationState {
    return this.current;
  }

  /** Register the worker. Called when the page is ready: its files are then in the browser's own cache. */
  async start(): Promise<void> {
    const workers = navigator.serviceWorker as ServiceWorkerContainer | undefined;
    if (!workers) return this.set("insecure");
    this.reloadWithNewVersion(workers);
    try {
      // Relative: the worker answers for the app's own path and what lies below it.
      const registration = await workers.register("sw.js", { updateViaCache: "none" });
      if (registration.active) this.set("installed");
      if (registration.waiting) this.tellOf(registration.waiting, workers);
      this.follow(registration.installing, workers);
      registration.addEventListener("updatefound", () => this.follow(registration.installing, workers));
      document.addEventListener("visibilitychange", () => this.check(registration));
    } catch {
      // No network, or refused: a worker of an earlier visit is still there.
      this.set(workers.controller ? "installed" : "failed");
    }
  }

  private follow(worker: ServiceWorker | null, workers: ServiceWorkerContainer): void {
    worker?.addEventListener("statechange", () => {
      if (worker.state === "installed" && workers.controller) this.tellOf(worker, workers);
      if (worker.state === "activated") this.set("installed");
      // A new version that cannot be kept leaves the old one in its place.
      if (worker.state === "redundant" && this.current === "installing") this.set("failed");
    });
  }

  private tellOf(worker: ServiceWorker, workers: ServiceWorkerContainer): void {
    // Without a controller no page is of an older version, and the worker takes over by itself.
    if (workers.controller) this.onNewVersion(() => worker.postMessage("take over"));
  }

  /** When another version takes over, every open page changes to it at once: a page never mixes two. */
  private reloadWithNewVersion(workers: ServiceWorkerContainer): void {
    let hasController = workers.controller !== null;
    workers.addEventListener("controllerchange", () => {
      if (hasController) location.reload();
      hasController = true;
    });
  }

  private check(registration: ServiceWorkerRegistration): void {
    if (document.hidden || Date.now() - this.lastCheck < CHECK_EVERY) return;
    this.lastCheck = Date.now();
    void registration.update().catch(() => {});
  }

  private set(state: InstallationState): void {
    this.current = state;
    this.onChange(state);
  }
}
