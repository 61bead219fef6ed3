// A plot: a figure of plotly's that follows the colours, and under it its numbers as text.

const CONFIG = {
  displaylogo: false, responsive: true, showLink: false, sendData: false, showSendToCloud: false, plotlyServerURL: "",
  doubleClick: "reset", displayModeBar: false,
};
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "x", "triangle-down", "star", "cross", "pentagon"];
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash"];
const COLOURS = 8;
const FAINT = 0.13;
const plots = [];

/** A colour of the style sheet as it is now, light or dark. */
function colour(name) {
  const probe = el("span", { style: `color: var(--${name})` });
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

const faint = (rgb) => rgb.replace("rgb(", "rgba(").replace(")", `, ${FAINT})`);

/** Colour, marker and dash of a strategy, the same in every plot; their cycles differ, so that no two look alike. */
function styleOf(name) {
  const at = Math.max(0, STRATEGIES.indexOf(name));
  return { colour: colour(`series-${at % COLOURS}`), symbol: SYMBOLS[at % SYMBOLS.length], dash: DASHES[at % DASHES.length] };
}

/** Plotly reads markup in texts: a name is escaped, and cut where it is long. */
function label(name, most = 34) {
  const text = String(name);
  const cut = text.length > most ? `${text.slice(0, most - 1)}…` : text;
  return cut.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

const narrow = () => document.documentElement.clientWidth < 600;

/** One axis name per strategy: rows from the top. */
function rowsAxis(names) {
  return {
    tickvals: names.map((_, at) => -at), ticktext: names.map((name) => label(name, narrow() ? 20 : 34)),
    range: [0.6 - names.length, 0.6], automargin: true, zeroline: false, fixedrange: true,
  };
}

const rowsHeight = (names) => 26 * names.length + 75;

/** Error bars from a mean to its bounds; none where there are no bounds. */
function errors(rows, mean, low, high, axis, tint) {
  const reach = (from, to) => rows.map((row) => (known(row[from]) && known(row[to]) ? scale(row[to]) - scale(row[from]) : 0));
  const some = rows.some((row) => known(row[low]));
  return some ? { [axis]: { type: "data", symmetric: false, array: reach(mean, high), arrayminus: reach(low, mean), color: tint, thickness: 1.5, width: 3 } } : {};
}

/** Layout that all share; what a figure says of its axes goes over it. */
function layoutOf({ height = 340, xaxis = {}, yaxis = {}, ...rest }) {
  const axis = { gridcolor: colour("line"), linecolor: colour("edge"), zerolinecolor: colour("line"), ticks: "", title: { standoff: 8 }, automargin: true };
  return {
    height, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("text") },
    margin: { l: 8, r: 12, t: 12, b: 8 },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, xanchor: "left", font: { size: 11.5 }, itemwidth: 40 },
    hoverlabel: { bgcolor: colour("raised"), bordercolor: colour("edge"), font: { color: colour("text") }, align: "left" },
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis }, ...rest,
  };
}

const titled = (text) => ({ text: label(text, 60), standoff: 8 });

/**
 * A plot with its title, controls and numbers.
 * draw() gives {traces, layout, head, rows, note}, or a sentence where there is nothing to draw.
 */
function plot({ id, title, about, controls = [], draw, click, level = "h3" }) {
  const said = el("p", { class: "quiet" });
  const drawing = el("div", { class: "drawing", role: "img", "aria-label": `${title}. The numbers are in the table below.` });
  const picture = { format: "svg", filename: `${data.study} ${id}`, width: 800, height: 500 };
  const save = el("button", { type: "button", class: "save", onclick: () => Plotly.downloadImage(drawing, { ...picture, height: drawing.clientHeight }) }, "Save as SVG");
  const numbers = el("details", {}, el("summary", {}, "Numbers"));
  const node = el("figure", { id: `plot-${id}`, "aria-labelledby": `title-${id}` },
    el("div", { class: "top" }, el(level, { id: `title-${id}` }, title), save), said,
    controls.length ? el("div", { class: "controls" }, ...controls) : null, el("div", { class: "canvas" }, drawing), numbers);
  let found = null;

  function tabulate() {
    const table = numbers.open && typeof found !== "string" ? [plainTable(title, found.head, found.rows)] : [];
    numbers.replaceChildren(numbers.firstChild, ...table);
  }

  function redraw() {
    found = draw();
    const empty = typeof found === "string";
    said.textContent = empty ? found : [about, found.note].filter(Boolean).join(" ");
    drawing.hidden = numbers.hidden = save.hidden = empty;
    node.classList.toggle("empty", empty);
    if (empty) return Plotly.purge(drawing);
    Plotly.react(drawing, found.traces, layoutOf(found.layout), CONFIG);
    if (click && !drawing.listening) {
      drawing.listening = true;
      drawing.on("plotly_click", (event) => click(event.points[0].customdata));
    }
    tabulate();
  }

  numbers.addEventListener("toggle", tabulate);
  return { node, redraw };
}

/** A plot of the page, drawn again where colours or the setting change. */
function addPlot(place, options) {
  const made = plot(options);
  place.append(made.node);
  plots.push(made);
  return made;
}

const redrawAll = () => plots.forEach((one) => one.redraw());
