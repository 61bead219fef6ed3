// How it went: learning curves, and what trained when.

const bands = data.bands.list.map(([setting, strategy, key, grid, start, counts]) => {
  const epochs = data.bands.epochs[grid];
  // where not all runs reached an epoch, its numbers say how many did
  return { setting, strategy, key, epochs, start, runs: (at) => (typeof counts === "number" ? "" : ` (${counts[at]} runs)`) };
});

/** A line through points, in the strategy's colour, marker and dash. */
function lineOf(name, x, y, more = {}) {
  const style = styleOf(name);
  return { type: "scatter", mode: x.length > 12 ? "lines" : "lines+markers", name: label(name), legendgroup: label(name, 200), x, y,
    line: { color: style.colour, dash: style.dash, width: 2 }, marker: { symbol: style.symbol, size: 7, color: style.colour }, ...more };
}

function drawCurves(key) {
  const rows = here(bands).filter((band) => band.key === key);
  if (!rows.length) return "No run of this setting measured this.";
  const share = isShare(key);
  const digits = (value) => (share ? fixed(value, 1) : short(value));
  const curves = rows.map((band) => {
    const size = band.epochs.length;
    const at = (from) => Array.from(floats(band.start + from, size), (value) => scale(value, share));
    return { ...band, mean: at(0), width: at(size) };
  });
  const epochs = unique(curves.flatMap((curve) => curve.epochs)).sort((a, b) => a - b);
  return {
    traces: curves.flatMap((curve) => [shade(curve), lineOf(curve.strategy, curve.epochs, curve.mean, { hovertemplate: "epoch %{x}: %{y:.4~g}" })]),
    layout: { height: 400, xaxis: { title: titled("epoch") }, yaxis: { title: titled(share ? `${key} %` : key) } },
    note: data.bands.thinned ? `At most ${data.bands.thinned} points of each are kept.` : "",
    head: ["epoch", ...curves.map((curve) => curve.strategy)],
    rows: epochs.map((epoch) => [String(epoch), ...curves.map((curve) => {
      const at = curve.epochs.indexOf(epoch);
      if (at < 0) return DASH;
      const [mean, width] = [curve.mean[at], curve.width[at]];
      return (known(width) ? `${digits(mean)} [${digits(mean - width)}, ${digits(mean + width)}]` : digits(mean)) + curve.runs(at);
    })]),
  };
}

/** The interval around a curve, where it has one. */
function shade(curve) {
  const at = curve.epochs.map((_, n) => n).filter((n) => known(curve.width[n]));
  const back = [...at].reverse();
  return { type: "scatter", mode: "lines", fill: "toself", hoverinfo: "skip", showlegend: false, legendgroup: label(curve.strategy, 200),
    x: [...at, ...back].map((n) => curve.epochs[n]), y: [...at.map((n) => curve.mean[n] + curve.width[n]), ...back.map((n) => curve.mean[n] - curve.width[n])],
    line: { width: 0 }, fillcolor: faint(styleOf(curve.strategy).colour) };
}

function drawTimeline(strategy) {
  const found = data.timelines.filter((one) => one.setting === view.setting);
  const one = found.find((other) => other.strategy === strategy);
  if (!one) return "The records of this setting do not say what it trained when.";
  const size = one.epochs.length;
  const rates = one.stages.map((_, at) => Array.from(floats(one.start + at * size, size), (rate) => (known(rate) ? rate : null)));
  const live = rates.flat().filter((rate) => known(rate) && rate > 0);
  const [least, most] = [Math.min(...live), Math.max(...live)];
  // stages that differ much want a logarithm; a schedule that ends at 0 does not
  const peaks = rates.map((row) => Math.max(...row.filter(known))).filter((rate) => rate > 0);
  const log = peaks.length > 0 && Math.max(...peaks) / Math.min(...peaks) > 20;
  const shown = log ? rates.map((row) => row.map((rate) => (known(rate) ? Math.log10(Math.max(rate, least)) : null))) : rates;
  const powers = log ? Array.from({ length: Math.floor(Math.log10(most)) - Math.ceil(Math.log10(least)) + 1 }, (_, n) => Math.ceil(Math.log10(least)) + n) : [];
  const bar = { title: { text: "rate", side: "top" }, thickness: 12, outlinewidth: 0, ...(powers.length ? { tickvals: powers, ticktext: powers.map((power) => `1e${power}`) } : {}) };
  return {
    traces: [{ type: "heatmap", x: one.epochs, y: one.stages.map((stage) => label(stage)), z: shown, customdata: rates, colorscale: "Cividis", reversescale: !isDark(),
      zmin: log ? Math.log10(least) : 0, zmax: live.length ? (log ? Math.log10(most) : most) : 1,
      xgap: size > 60 ? 0 : 1, ygap: 2, hoverongaps: false, colorbar: bar, hovertemplate: "%{y}, epoch %{x}: %{customdata:.3~g}<extra></extra>" }],
    layout: { height: 110 + 34 * one.stages.length, xaxis: { title: titled("epoch"), showgrid: false, zeroline: false }, yaxis: { showgrid: false, type: "category", fixedrange: true } },
    note: one.alike ? `${one.strategy}: all its runs alike.` : `${one.strategy}: its first run; others trained other stages at other times.`,
    head: ["stage", ...one.epochs.map((epoch) => `epoch ${epoch}`)],
    rows: one.stages.map((stage, at) => [stage, ...rates[at].map((rate) => (known(rate) ? short(rate) : "frozen"))]),
  };
}

/** A select whose choice draws a plot again; made before the plot is. */
function chooser(name, options, state, key) {
  state[key] = options.length ? options[0][0] : null;
  const made = choice(name, options, (value) => { state[key] = value; state.plot.redraw(); });
  return options.length > 1 ? [made.node] : [];
}

/** Keys of a history, first the one that runs are judged by. */
function judgedFirst(keys) {
  const judge = `val/${metric.name.split("/").slice(1).join("/")}`;
  return [...keys].sort((a, b) => (b === judge) - (a === judge));
}

const same = (values) => values.map((value) => [value, value]);

function coursePlots(place) {
  const add = (state, options) => { state.plot = addPlot(place, options); };
  const [curves, timeline] = [{}, {}];
  const keys = judgedFirst(unique(bands.map((band) => band.key)));
  add(curves, { id: "curves", title: "Learning curves", about: "Mean over seeds with its 95 % band; a click on a name in the legend hides it.",
    controls: chooser("Value", same(keys), curves, "key"), draw: () => (curves.key ? drawCurves(curves.key) : "The records have no history of their epochs.") });
  add(timeline, { id: "timeline", title: "What trained when", about: "Colour is the learning rate; blank is frozen.",
    controls: chooser("Strategy", same(unique(data.timelines.map((one) => one.strategy)).sort()), timeline, "strategy"), draw: () => drawTimeline(timeline.strategy) });
}
