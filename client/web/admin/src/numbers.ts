/** Numbers and times for people, as far as the app has no need of them. */

import { formatCount } from "../../common/format.js";

/** A share in [0, 1] as a percentage with one digit after the point. */
export const formatShare = (share: number): string => `${(100 * share).toFixed(1)} %`;

export function formatBytes(bytes: number): string {
  const [size, unit] = bytes >= 1e9 ? [bytes / 1e9, "GB"] : bytes >= 1e6 ? [bytes / 1e6, "MB"] : [bytes / 1e3, "kB"];
  return `${size.toFixed(1)} ${unit}`;
}

/** Seconds in the unit that keeps the number short. */
export function formatSeconds(seconds: number): string {
  if (seconds === 0) return "0";
  if (seconds < 0.01) return `${(1000 * seconds).toFixed(1)} ms`;
  if (seconds < 1) return `${Math.round(1000 * seconds)} ms`;
  if (seconds < 120) return `${seconds.toFixed(1)} s`;
  return `${formatCount(Math.round(seconds / 60))} min`;
}

/** A rate or count: few digits, but never so few that a small one becomes 0. */
export const formatNumber = (value: number): string => (value >= 100 ? formatCount(Math.round(value)) : String(Number(value.toPrecision(2))));

/** A time of the server, in the operator's own time zone. */
export function formatTime(text: string): string {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return text;
  const two = (value: number) => String(value).padStart(2, "0");
  const day = `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
  return `${day} ${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}
