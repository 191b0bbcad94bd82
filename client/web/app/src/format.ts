/** Numbers for people. */

export * from "../../common/format.js";

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
