// What is drawn of the table: scores, paired differences, cost.

const GOLDEN = 0.618034;
/** Dots of one row beside each other, the same in every drawing. */
const spread = (at, many) => (many > 1 ? (((at * GOLDEN) % 1) - 0.5) * 0.5 : 0);

function drawScores() {
  const rows = here(table);
  const names = rows.map((row) => row.strategy);
  const groups = grouped(here(runs), "strategy");
  const dots = rows.flatMap((row, at) => (groups.get(row.strategy) || []).map((run, n, all) => ({ run, y: -at + spread(n, all.length) })));
  return {
    traces: [
      { type: "scatter", mode: "markers", name: "a run", x: dots.map((dot) => scale(dot.run.score)), y: dots.map((dot) => dot.y), customdata: dots.map((dot) => dot.run.at),
        marker: { color: colour("dot"), size: 5, opacity: 0.75 }, hoverinfo: "text", hovertext: dots.map(({ run }) => `${label(run.strategy)}, seed ${label(run.seed)}: ${score(run.score)}`) },
      { type: "scatter", mode: "markers", name: "mean, 95 %", x: rows.map((row) => scale(row.mean)), y: rows.map((_, at) => -at),
        marker: { color: colour("mean"), size: 9, symbol: "diamond" }, ...errors(rows, "mean", "low", "high", "error_x", colour("mean")),
        hoverinfo: "text", hovertext: rows.map((row) => `${label(row.strategy)}: ${withBounds(row.mean, row.low, row.high)}`) },
    ],
    layout: { height: rowsHeight(names), showlegend: false, xaxis: { title: titled(metric.label) }, yaxis: rowsAxis(names) },
    head: [data.row, "mean [95 %]", "each run (seed: score)"],
    rows: rows.map((row) => [row.strategy, withBounds(row.mean, row.low, row.high),
      (groups.get(row.strategy) || []).map((run) => `${run.seed}: ${score(run.score)}`).join("; ")]),
  };
}

function drawDifferences() {
  const rows = here(table);
  if (!rows.some((row) => known(row.difference))) return `Nothing is paired with ${data.baseline} here.`;
  const ends = rows.flatMap((row) => [0, scale(row.difference), scale(row.difference_low), scale(row.difference_high)]).filter(known);
  const [least, most] = [Math.min(...ends), Math.max(...ends)];
  const room = 0.05 * (most - least || 1);
  const names = rows.map((row) => row.strategy);
  return {
    traces: [{ type: "scatter", mode: "markers", showlegend: false, x: rows.map((row) => scale(row.difference)), y: rows.map((_, at) => -at),
      marker: { color: colour("difference"), size: 8, symbol: "square" }, ...errors(rows, "difference", "difference_low", "difference_high", "error_x", colour("difference")),
      hoverinfo: "text", hovertext: rows.map((row) => `${label(row.strategy)}: ${withBounds(row.difference, row.difference_low, row.difference_high, true)}`) }],
    layout: { height: rowsHeight(names), yaxis: rowsAxis(names),
      xaxis: { title: titled(`difference, ${metric.label}`), zeroline: true, zerolinecolor: colour("text"), zerolinewidth: 2, range: [least - room, most + room] } },
    head: [data.row, `difference to ${data.baseline} [95 %]`, "paired seeds", "p, Holm"],
    rows: rows.filter((row) => known(row.difference)).map((row) => [row.strategy, withBounds(row.difference, row.difference_low, row.difference_high, true), whole(row.paired_seeds), probability(row.p_holm)]),
  };
}

function drawCost(cost) {
  const rows = here(table).filter((row) => known(row[cost]));
  if (!rows.length) return "No run of this setting recorded this cost.";
  const best = rows.filter((row) => row[`front_${cost}`]).sort((a, b) => a[cost] - b[cost]);
  const [least, most] = [Math.min(...rows.map((row) => row[cost])), Math.max(...rows.map((row) => row[cost]))];
  const points = rows.map((row) => {
    const style = styleOf(row.strategy);
    return { type: "scatter", mode: "markers", name: label(row.strategy), x: [row[cost]], y: [scale(row.mean)],
      marker: { color: style.colour, symbol: style.symbol, size: 10 }, ...errors([row], "mean", "low", "high", "error_y", style.colour),
      hoverinfo: "text", hovertext: [`${label(row.strategy)}: ${withBounds(row.mean, row.low, row.high)} for ${COSTS[cost].text(row[cost])}`] };
  });
  return {
    traces: [{ type: "scatter", mode: "lines", name: "front", x: best.map((row) => row[cost]), y: best.map((row) => scale(row.mean)),
      line: { shape: "hv", color: colour("edge"), dash: "dot", width: 2 }, hoverinfo: "skip" }, ...points],
    layout: { height: 400, xaxis: { title: titled(data.costs[cost]), type: least > 0 && most / least > 20 ? "log" : "linear" }, yaxis: { title: titled(metric.label) } },
    head: [data.row, data.costs[cost], "mean [95 %]", "on the front"],
    rows: rows.map((row) => [row.strategy, COSTS[cost].text(row[cost]), withBounds(row.mean, row.low, row.high), row[`front_${cost}`] ? "yes" : "no"]),
  };
}

function scorePlots(place) {
  addPlot(place, { id: "scores", title: "Scores", about: "A dot is a run, and a click opens it; a diamond is the mean with its 95 % interval.", draw: drawScores, click: (at) => at !== undefined && openRun(at) });
  addPlot(place, { id: "differences", title: `Paired differences to ${data.baseline}`, about: "The mean of the per-seed differences with its 95 % interval.", draw: drawDifferences });
  const state = { cost: costsKnown[0] };
  const costs = choice("Cost", costsKnown.map((cost) => [cost, data.costs[cost]]), (value) => { state.cost = value; front.redraw(); });
  const front = addPlot(place, { id: "cost", title: "Score against cost", about: "On the front, nothing else is as good for less.",
    controls: costsKnown.length > 1 ? [costs.node] : [], draw: () => (state.cost ? drawCost(state.cost) : "No run recorded a cost.") });
}
