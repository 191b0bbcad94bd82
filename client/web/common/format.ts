/** Numbers for people. */

export const formatCount = (count: number): string => count.toLocaleString("en");

export const formatMilliseconds = (milliseconds: number): string =>
  `${milliseconds < 10 ? milliseconds.toFixed(1) : formatCount(Math.round(milliseconds))} ms`;

export const formatMegabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

export const formatScore = (score: number): string => score.toFixed(3);

/** A space id, short enough for a line: sp1-0123abcd… */
export const shortenSpace = (space: string): string => (space.length > 13 ? `${space.slice(0, 12)}…` : space);
