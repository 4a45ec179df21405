// What differs between two pictures of the index.

import { isMissing, request } from "./client.js";
import { el, svgElement } from "./dom.js";
import { formatScore } from "./format.js";
import { BANDS } from "./picture.js";

const KINDS = { size: "Size", format: "Format", crop: "Crop", mirror: "Mirrored", rotation: "Turned", light: "Light", colour: "Colour", content: "Content" };

// Applies the inverse of an affine transformation.
function invert([a, b, c, d, e, f], x, y) {
  const determinant = a * e - b * d;
  return [(e * (x - c) - b * (y - f)) / determinant, (a * (y - f) - d * (x - c)) / determinant];
}

// Where picture b is within picture a, as an outline over a.
function outline({ a, b, transform }) {
  const [m0, m1, , m3, m4] = transform.matrix;
  if (Math.abs(m0 * m4 - m1 * m3) < 1e-9) return null;
  const corners = [[0, 0], [b.width, 0], [b.width, b.height], [0, b.height]].map(([x, y]) => invert(transform.matrix, x, y));
  const points = corners.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
  return svgElement("svg", { viewBox: `0 0 ${a.width} ${a.height}`, preserveAspectRatio: "none", class: "outline", "aria-hidden": "true" },
    svgElement("polygon", { points, "vector-effect": "non-scaling-stroke" }));
}

function differenceNodes({ same_content: isSame, score, band, differences, transform }) {
  const summary = isSame ? "The files are identical" : BANDS[band] ?? "Compared";
  const items = differences.map(({ kind, detail }) => el("li", {}, el("b", {}, KINDS[kind] ?? kind), ` ${detail}`));
  return [el("p", {}, el("b", {}, summary), ` · ${formatScore(score)}`),
    items.length ? el("ul", { class: "differences" }, items) : el("p", { class: "quiet" }, "No difference was found."),
    transform ? el("p", { class: "quiet" }, `The outline shows where the other picture is; they share ${Math.round(transform.overlap * 100)} % of their area.`) : null];
}

// The comparison of the picture that is searched by (`query`) with another one: nodes, and an outline over the former.
export async function compareWithQuery(query, image, signal) {
  if (!query.id) return { nodes: [el("p", { class: "quiet" }, "Your picture is not in the index, so only your eyes can compare it.")], overlay: null };
  try {
    const answer = await request("/v1/compare", { signal, parameters: { a: query.id, b: image.id } });
    return { nodes: differenceNodes(answer), overlay: answer.transform && outline(answer) };
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return { nodes: isMissing(error) ? [] : [el("p", { class: "error" }, error.message)], overlay: null };
  }
}
