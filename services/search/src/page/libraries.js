// The watched folders, as the latest counters report them, and the paths of images in them.

import { toast } from "./dom.js";

let libraries = [];

export function setLibraries(list) {
  libraries = list;
}

export const findLibrary = (name) => libraries.find((library) => library.name === name);

export const libraryRoots = () => libraries.map((library) => library.root);

export const hasSeveralLibraries = () => libraries.length > 1;

// The libraries whose settings permit adding pictures.
export const uploadLibraries = () => libraries.filter((library) => library.uploads);

// The folder of an image, for display: its library and the folders below it.
export function imageFolder(image) {
  const at = image.path.lastIndexOf("/");
  return at < 0 ? image.library : `${image.library}/${image.path.slice(0, at)}`;
}

export function fullPath(image) {
  const library = findLibrary(image.library);
  return library ? `${library.root.replace(/\/$/, "")}/${image.path}` : `${image.library}/${image.path}`;
}

export async function copyText(text, done) {
  try {
    await navigator.clipboard.writeText(text);
    toast(done);
  } catch {
    // Without HTTPS, browsers allow clipboard access on localhost only.
    window.prompt("Copy this text", text);
  }
}

export const copyPath = (image) => copyText(fullPath(image), "Path copied");
