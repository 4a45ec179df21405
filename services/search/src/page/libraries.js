// The watched folders, as the latest counters report them, and the paths of images in them.

import { toast } from "./dom.js";

let libraries = [];

export function setLibraries(list) {
  libraries = list;
}

export const findLibrary = (name) => libraries.find((library) => library.name === name);

export const libraryRoots = () => libraries.map((library) => library.root);

// The folder of an image, for display: its library and the folders below it.
export function imageFolder(image) {
  const at = image.path.lastIndexOf("/");
  return at < 0 ? image.library : `${image.library}/${image.path.slice(0, at)}`;
}

function fullPath(image) {
  const library = findLibrary(image.library);
  return library ? `${library.root.replace(/\/$/, "")}/${image.path}` : `${image.library}/${image.path}`;
}

export async function copyPath(image) {
  const path = fullPath(image);
  try {
    await navigator.clipboard.writeText(path);
    toast("Path copied");
  } catch {
    // Without HTTPS, browsers allow clipboard access on localhost only.
    window.prompt("The path", path);
  }
}
