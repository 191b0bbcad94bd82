/** What the app remembers on this device: small texts in localStorage. */

/** Texts by name. A browser may refuse its storage; then they are remembered for this visit only. */
export class DeviceStorage {
  private readonly visit = new Map<string, string>();

  /** `path`: of the app's address, because several servers may share one origin. */
  constructor(private readonly path: string) {}

  read(name: string): string | undefined {
    try {
      return localStorage.getItem(this.place(name)) ?? this.visit.get(name);
    } catch {
      return this.visit.get(name);
    }
  }

  keep(name: string, value: string): void {
    this.visit.set(name, value);
    try {
      localStorage.setItem(this.place(name), value);
    } catch {
      // Full, or refused: remembered for this visit.
    }
  }

  forget(name: string): void {
    this.visit.delete(name);
    try {
      localStorage.removeItem(this.place(name));
    } catch {
      // Refused: then nothing was kept.
    }
  }

  private place(name: string): string {
    return `askew:${this.path}:${name}`;
  }
}
