// Against labels, tuning trials and the oracle; and what was measured beside the scores.

/** Lines of a wider setting, one a name; x in the order of the rows. */
function drawLines(rows, name, x, y, layout, more = () => ({})) {
  const groups = grouped(rows, name);
  return {
    traces: [...groups].map(([one, points]) => lineOf(one, points.map((point) => point[x]), points.map((point) => scale(point[y])), { ...more(points, styleOf(one).colour), hovertemplate: "%{x}: %{y:.4~g}" })),
    layout: { height: 380, yaxis: { title: titled(metric.label) }, ...layout },
    head: [name === "method" ? "strategy" : data.row, ...unique(rows.map((row) => row[x])).map((value) => `${x} ${value}`)],
    rows: [...groups].map(([one, points]) => [one, ...unique(rows.map((row) => row[x])).map((value) => {
      const point = points.find((other) => other[x] === value);
      return point ? withBounds(point[y], point.low, point.high) : DASH;
    })]),
  };
}

const wider = (rows) => rows.map((row) => ({ ...row, place: `${row.source} → ${row.target}, ${row.backbone}` }));

function drawEfficiency(rows) {
  const amounts = unique(rows.map((row) => row.labels));
  const numeric = amounts.every((amount) => typeof amount === "number" && amount > 0);
  const axis = numeric ? { type: "log", tickvals: amounts, ticktext: amounts.map(String) } : { type: "category", categoryarray: amounts.map(String) };
  return drawLines(rows, "strategy", "labels", "mean", { xaxis: { title: titled("labels (target.labels)"), ...axis } },
    (points, tint) => errors(points, "mean", "low", "high", "error_y", tint));
}

function drawHonest() {
  const rows = here(rowsOf(data.honest));
  if (!rows.some((row) => known(row.oracle))) return "No run was measured by the oracle (oracle=true asks for it).";
  const names = rows.map((row) => row.strategy);
  const trace = (key, name, symbol, tint) => ({ type: "scatter", mode: "markers", name, x: rows.map((row) => scale(row[key])), y: rows.map((_, at) => -at),
    marker: { symbol, size: 10, color: tint, line: { width: 2, color: tint } }, hovertemplate: `${name}: %{x:.4~g}<extra></extra>` });
  const gap = { type: "scatter", mode: "lines", showlegend: false, hoverinfo: "skip", line: { color: colour("edge"), width: 1.5 },
    x: rows.flatMap((row) => [scale(row.selected), scale(row.oracle), null]), y: rows.flatMap((_, at) => [-at, -at, null]) };
  return {
    traces: [gap, trace("last", "last epoch", "line-ns-open", colour("muted")), trace("selected", "selected", "circle", colour("mean")), trace("oracle", "oracle", "diamond-open", colour("difference"))],
    layout: { height: rowsHeight(names), xaxis: { title: titled(metric.label) }, yaxis: rowsAxis(names) },
    head: [data.row, "rule", "selected", "last epoch", "oracle", "gap [95 %]", "runs with both"],
    rows: rows.map((row) => [row.strategy, row.rule, score(row.selected), score(row.last), score(row.oracle), withBounds(row.gap, row.gap_low, row.gap_high, true), whole(row.gap_runs)]),
  };
}

const kindOf = (name) => name.split("/")[0];

function drawDiagnostics(kind) {
  const rows = here(rowsOf(data.diagnostics)).filter((row) => kindOf(row.name) === kind);
  if (!rows.length) return "No run of this setting measured this.";
  const words = kind.replace(/_/g, " ");
  const numbers = { head: [data.row, "of", "mean", "sd over seeds", "runs"],
    rows: rows.map((row) => [row.strategy, row.name.slice(kind.length + 1) || "the whole", short(row.mean), short(row.sd), whole(row.runs)]) };
  const bars = (points, tint) => ({ type: "data", array: points.map((row) => row.sd || 0), color: tint, thickness: 1.5, width: 3 });
  if (rows.some((row) => row.name.includes("/"))) {
    const traces = [...grouped(rows, "strategy")].map(([name, points]) => lineOf(name, points.map((row) => label(row.name.slice(kind.length + 1))), points.map((row) => row.mean),
      { error_y: bars(points, styleOf(name).colour), hovertemplate: "%{x}: %{y:.3~g}" }));
    return { traces, layout: { height: 380, xaxis: { type: "category" }, yaxis: { title: titled(words) } }, ...numbers };
  }
  const names = rows.map((row) => row.strategy);
  const trace = { type: "scatter", mode: "markers", x: rows.map((row) => row.mean), y: rows.map((_, at) => -at), showlegend: false,
    marker: { size: 9, color: colour("mean"), symbol: "diamond" }, error_x: bars(rows, colour("mean")), hovertemplate: "%{x:.3~g}<extra></extra>" };
  return { traces: [trace], layout: { height: rowsHeight(names), xaxis: { title: titled(words) }, yaxis: rowsAxis(names) }, ...numbers };
}

function measuredPlots(place) {
  const state = {};
  addPlot(place, { id: "honest", title: "Selection against the oracle", about: "What the declared selection rule chose, and the best epoch by the test labels, which is no result.", draw: drawHonest });
  const kinds = unique(rowsOf(data.diagnostics).map((row) => kindOf(row.name)));
  state.plot = addPlot(place, { id: "diagnostics", title: "Diagnostics", about: "Mean with the standard deviation over seeds.", controls: chooser("Diagnostic", kinds.map((kind) => [kind, kind.replace(/_/g, " ")]), state, "kind"),
    draw: () => (state.kind ? drawDiagnostics(state.kind) : "No run measured any diagnostics.") });
}

/** Plots whose settings are wider than the table's: over label budgets, and over tuning trials. */
function widerPlots(place) {
  const [budgets, trials] = [wider(rowsOf(data.efficiency)), wider(rowsOf(data.trials))];
  const add = (state, rows, options, draw) => {
    const controls = chooser("Setting", same(unique(rows.map((row) => row.place))), state, "place");
    state.plot = addPlot(place, { ...options, controls, draw: () => draw(rows.filter((row) => row.place === state.place)) });
  };
  if (budgets.length) add({}, budgets, { id: "efficiency", title: "Sample efficiency", about: "Mean score with its 95 % interval against the labels seen." }, drawEfficiency);
  if (trials.length) add({}, trials, { id: "trials", title: "Expected best of k tuning trials", about: "Compare strategies at equal k." },
    (rows) => drawLines(rows, "method", "k", "expected", { xaxis: { title: titled("k, tuning trials"), tickformat: "d", ...(Math.max(...rows.map((row) => row.k)) > 12 ? {} : { dtick: 1 }) } }));
}
