// Numbers, sizes, delays, times and messages as text.

import { el } from "./dom.js";

export const number = new Intl.NumberFormat("en");

export const count = (value, singular, plural = `${singular}s`) => `${number.format(value)} ${value === 1 ? singular : plural}`;

export const baseName = (path) => path.slice(path.lastIndexOf("/") + 1);

export function formatSize(bytes) {
  if (bytes < 1e3) return bytes === 1 ? "1 byte" : `${bytes} bytes`;
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(1)} GB`;
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

const dayAndTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
// Times without a zone count as UTC in the index.
const takenTime = new Intl.DateTimeFormat(undefined, { dateStyle: "long", timeStyle: "short", timeZone: "UTC" });

export const formatTime = (time) => dayAndTime.format(new Date(time));
export const formatTaken = (time) => takenTime.format(new Date(time));

// The time between two steps, with its sign: the clocks of two machines may differ.
export function formatDelay(ms) {
  const sign = ms < 0 ? "−" : "+";
  const length = Math.abs(ms);
  if (length < 10) return `${sign}${length.toFixed(1)} ms`;
  if (length < 1000) return `${sign}${Math.round(length)} ms`;
  if (length < 120e3) return `${sign}${(length / 1e3).toFixed(1)} s`;
  if (length < 7200e3) return `${sign}${Math.round(length / 60e3)} min`;
  if (length < 172800e3) return `${sign}${Math.round(length / 3600e3)} h`;
  return `${sign}${Math.round(length / 86400e3)} days`;
}

// Rounded down: 100 % is reserved for the same picture.
export function formatScore(score) {
  const percent = Math.max(0, Math.min(100, score * 100));
  return score > 0.9995 ? "100 %" : `${(Math.floor(percent * 10) / 10).toFixed(1)} %`;
}

export const formatTook = (ms) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;

// A message of the service as the nodes of a sentence; text in backticks becomes code.
export function sentence(message) {
  const capitalized = message.charAt(0).toUpperCase() + message.slice(1);
  return capitalized.split("`").map((part, at) => at % 2 === 1 ? el("code", {}, part) : part);
}
