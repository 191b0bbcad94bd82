/** Numbers for people. */

export const formatCount = (count: number): string => count.toLocaleString("en");

export const formatMilliseconds = (milliseconds: number): string =>
  `${milliseconds < 10 ? milliseconds.toFixed(1) : formatCount(Math.round(milliseconds))} ms`;

export const formatMegabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

export const formatScore = (score: number): string => score.toFixed(3);

/** A space id, short enough for a line: sp1-0123abcd… */
export const shortenSpace = (space: string): string => (space.length > 13 ? `${space.slice(0, 12)}…` : space);

/** A share of 0 to 1 as whole per cents: 96 %. */
export const formatShare = (share: number): string => `${Math.floor(100 * share)}\u00a0%`;

/** A moment of the server as a day: 27 Nov 2026; as it was sent if it is none. */
export function formatDate(moment: string): string {
  const date = new Date(moment);
  if (Number.isNaN(date.getTime())) return moment;
  return date.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });
}

/** A moment, in milliseconds since 1970, as day and time on this device. */
export const formatTime = (time: number): string =>
  new Date(time).toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
