"use strict";
// The data, and how its values are written. Names become text nodes, never markup.

const data = JSON.parse(document.getElementById("data").textContent);
const metric = data.metric;
const DASH = "–";

/** An element with attributes, listeners (`onclick`) and children; a string is a text node. */
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** The rows of a table that is embedded column by column. */
function rowsOf(columns) {
  if (!columns) return [];
  const names = Object.keys(columns);
  return columns[names[0]].map((_, at) => Object.fromEntries(names.map((name) => [name, columns[name][at]])));
}

/** Rows by the text of one of their values, in the order of the first of each. */
function grouped(rows, key) {
  const found = new Map();
  for (const row of rows) found.has(row[key]) ? found.get(row[key]).push(row) : found.set(row[key], [row]);
  return found;
}

const unique = (values) => [...new Set(values)];
const known = (value) => value !== null && value !== undefined && !Number.isNaN(value);

// numbers ---------------------------------------------------------------------------------------------------------

function fixed(value, digits, signed = false) {
  if (!known(value)) return DASH;
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const text = Math.abs(value).toFixed(digits);
  return (value < 0 && Number(text) !== 0 ? "−" : signed ? "+" : "") + text;
}

/** A share is shown as percent. */
const isShare = (name) => name.includes("accuracy");
const scale = (value, share = metric.share) => (known(value) ? (share ? 100 * value : value) : null);
const score = (value, signed = false) => fixed(scale(value), metric.share ? 1 : 4, signed);
const bounds = (low, high, signed = false) =>
  known(low) && known(high) ? `[${score(low, signed)}, ${score(high, signed)}]` : "";
const withBounds = (mean, low, high, signed = false) => `${score(mean, signed)} ${bounds(low, high, signed)}`.trim();
const whole = (value) => (known(value) ? Math.round(value).toLocaleString("en") : DASH);
const short = (value) => (known(value) ? minus(String(Number(value.toPrecision(4)))) : DASH);
const minus = (text) => text.replace(/-/g, "−");
const probability = (value) => (!known(value) ? DASH : value < 0.001 ? "< 0.001" : value.toFixed(3));

function large(value) {
  if (!known(value)) return DASH;
  const power = value > 0 ? Math.floor(Math.log10(value) / 3) : 0;
  return power < 2 ? whole(value) : `${(value / 1000 ** power).toFixed(1)} ${["", "k", "M", "G", "T", "P", "E"][power] || "×10^" + 3 * power}`;
}

/** How each cost is written. */
const COSTS = {
  seconds: { name: "seconds", text: (value) => fixed(value, 1) },
  samples: { name: "samples", text: whole },
  trainable_parameters: { name: "trainable parameters", text: whole },
  flops: { name: "FLOPs", text: large },
  peak_memory_bytes: { name: "peak memory", text: (value) => (known(value) ? `${large(value)}B` : DASH) },
};

/** The seeds to settle may be infinite, which JSON cannot say. */
const unbounded = (value) => (value === "inf" ? Infinity : value);

// curves ----------------------------------------------------------------------------------------------------------

let block = null;

/** Numbers of the embedded block, decoded when the first are asked for. */
function floats(start, length) {
  if (block === null) {
    const text = atob(document.getElementById("floats").textContent);
    const bytes = new Uint8Array(text.length);
    for (let at = 0; at < text.length; at += 1) bytes[at] = text.charCodeAt(at);
    const view = new DataView(bytes.buffer);
    block = Float32Array.from({ length: bytes.length / 4 }, (_, at) => view.getFloat32(4 * at, true));
  }
  return block.subarray(start, start + length);
}
