/**
 * Whether the server answers. What the browser believes about its network is no evidence: only requests are. While none is
 * answered, the server is asked again, at growing intervals and whenever there is reason to hope.
 */

const FIRST_WAIT = 2_000;
const LONGEST_WAIT = 60_000;

export class Connection {
  private isLost = false;
  private wait = FIRST_WAIT;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private isAsking = false;

  /** `ask`: sends a request, whose outcome reaches `note`. `onChange`: called when the server is lost or found. */
  constructor(
    private readonly ask: () => Promise<unknown>,
    private readonly onChange: () => void,
  ) {
    addEventListener("online", () => this.askNow());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.askNow();
    });
  }

  get isOffline(): boolean {
    return this.isLost;
  }

  /** Note whether a request was answered, be it with a refusal. */
  note(isReached: boolean): void {
    if (isReached === !this.isLost) return;
    this.isLost = !isReached;
    clearTimeout(this.timer);
    this.wait = FIRST_WAIT;
    if (this.isLost) this.askLater();
    this.onChange();
  }

  /** Ask again at once, if the server is lost. */
  askNow(): void {
    if (!this.isLost || this.isAsking) return;
    clearTimeout(this.timer);
    this.isAsking = true;
    // A refusal is an answer, too: what it means is found out where it matters.
    void this.ask()
      .catch(() => {})
      .then(() => {
        this.isAsking = false;
        if (this.isLost) this.askLater();
      });
  }

  private askLater(): void {
    this.timer = setTimeout(() => this.askNow(), this.wait);
    this.wait = Math.min(2 * this.wait, LONGEST_WAIT);
  }
}
