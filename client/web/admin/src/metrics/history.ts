/** Readings of `/metrics` over time, in memory only. */

import type { Reading } from "./reading.js";

export const READ_EVERY_SECONDS = 3;
const KEPT_SECONDS = 600;
/** After a longer time between two readings, such as behind another tab, a chart has a gap. */
const LONGEST_STEP_SECONDS = 4 * READ_EVERY_SECONDS;

interface Moment {
  readonly seconds: number;
  readonly reading: Reading;
}

/** What happened between two readings. `seconds`: when the second was made; `elapsed`: the time between them. */
export interface Step {
  readonly seconds: number;
  readonly elapsed: number;
  readonly reading: Reading;
  readonly before: Reading;
}

export class MetricsHistory {
  private moments: Moment[] = [];
  private begun: Reading | undefined;

  /** `seconds`: of a clock that only goes forward. */
  add(reading: Reading, seconds: number): void {
    this.begun ??= reading;
    this.moments = [...this.moments.filter((each) => each.seconds > seconds - KEPT_SECONDS), { seconds, reading }];
  }

  get latest(): Reading | undefined {
    return this.moments.at(-1)?.reading;
  }

  /** The first reading of this visit. */
  get first(): Reading | undefined {
    return this.begun;
  }

  /** The time of the latest reading. */
  get seconds(): number {
    return this.moments.at(-1)?.seconds ?? 0;
  }

  /** Steps in their order; undefined stands for a gap. */
  get steps(): readonly (Step | undefined)[] {
    return this.moments.slice(1).map(({ seconds, reading }, place) => {
      const before = this.moments[place];
      if (!before || seconds - before.seconds > LONGEST_STEP_SECONDS) return undefined;
      return { seconds, elapsed: seconds - before.seconds, reading, before: before.reading };
    });
  }
}
