// All settings at once: the table of Agarwal et al., and the critical-difference diagram of Demšar.

function overallSection(place) {
  const rows = rowsOf(data.overall);
  if (!rows.length) return place.append(el("p", { class: "quiet" }, "One setting, or no strategy in all of them: nothing to take together."));
  const share = (value) => fixed(known(value) ? 100 * value : null, 0);
  const better = (row) => known(row.improvement_low) ? `${share(row.improvement)} % [${share(row.improvement_low)}, ${share(row.improvement_high)}]` : known(row.improvement) ? `${share(row.improvement)} %` : DASH;
  const columns = [
    { name: data.row, text: (row) => row.strategy },
    number("mean rank", "rank", (value) => fixed(value, 2)),
    number("settings", "settings", whole),
    number("runs", "runs", whole),
    number(`interquartile mean, ${metric.label} [95 %]`, "iqm", score, { text: (row) => withBounds(row.iqm, row.iqm_low, row.iqm_high) }),
    number(`probability to beat ${data.baseline} [95 %]`, "improvement", share, { text: better }),
  ];
  place.append(sortable({ caption: "Strategies over all settings", columns, rows }).node);
  const test = data.ranks;
  place.append(el("p", {}, test
    ? `Over ${test.tasks} tasks Friedman’s χ² is ${fixed(test.chi2, 2)} (p ${written(test.p)})${known(test.f) ? `, Iman and Davenport’s F ${fixed(test.f, 2)} (p ${written(test.f_p)})` : ""}. Mean ranks that are further apart than ${fixed(test.critical_difference, 2)} differ (Nemenyi).`
    : "Ranks are tested from three strategies and three settings on."));
}

const written = (p) => (p < 0.001 ? "< 0.001" : `= ${probability(p)}`);

/** An axis of ranks, names to both sides of it, bars over those that do not surely differ. */
function drawRanks() {
  const { strategy, mean, cliques, critical_difference: apart } = data.ranks;
  const [first, last] = [Math.floor(mean[0]), Math.max(Math.ceil(mean[mean.length - 1]), Math.floor(mean[0]) + 1)];
  const left = Math.ceil(strategy.length / 2);
  const top = 1 + 0.45 * cliques.length;
  const ink = colour("text");
  const stroke = (x0, y0, x1, y1, width = 1, tint = ink) => ({ type: "line", x0, y0, x1, y1, line: { color: tint, width } });
  const shapes = [stroke(first, 0, last, 0, 1.5), stroke(first, 1, first + apart, 1, 2, colour("difference"))];
  for (let rank = first; rank <= last; rank += 1) shapes.push(stroke(rank, 0, rank, 0.2));
  const most = narrow() ? 22 : 34;
  const named = strategy.map((name, at) => {
    const y = -top - (at < left ? at : strategy.length - 1 - at);
    const side = at < left ? first : last;
    shapes.push(stroke(mean[at], 0, mean[at], y), stroke(mean[at], y, side, y));
    return { x: side, y, text: `${label(name, most)} ${mean[at].toFixed(2)}`, xanchor: at < left ? "right" : "left", xshift: at < left ? -6 : 6, showarrow: false };
  });
  cliques.forEach((clique, at) => {
    const ends = [mean[strategy.indexOf(clique[0])], mean[strategy.indexOf(clique[clique.length - 1])]];
    shapes.push(stroke(ends[0] - 0.04, -0.5 - 0.45 * at, ends[1] + 0.04, -0.5 - 0.45 * at, 5, colour("mean")));
  });
  const ticks = Array.from({ length: last - first + 1 }, (_, at) => ({ x: first + at, y: 0.25, text: String(first + at), showarrow: false, yanchor: "bottom" }));
  const cd = { x: first + apart / 2, y: 1.05, yanchor: "bottom", text: `critical difference ${apart.toFixed(2)}`, showarrow: false, font: { color: colour("difference") } };
  const side = 8 + 6.6 * Math.max(...strategy.map((name) => Math.min(name.length, most) + 5));
  const bare = { visible: false, fixedrange: true };
  return {
    traces: [{ type: "scatter", mode: "markers", x: mean, y: mean.map(() => 0), showlegend: false, marker: { color: ink, size: 7 }, hoverinfo: "text", hovertext: strategy.map((name, at) => `${label(name)}: ${mean[at].toFixed(2)}`) }],
    layout: { height: 110 + 26 * (left + top), shapes, annotations: [...named, ...ticks, cd], margin: { l: side, r: side, t: 8, b: 8 },
      xaxis: { ...bare, range: [first - 0.15, Math.max(last, first + apart) + 0.15] }, yaxis: { ...bare, range: [-top - left + 0.4, 2] } },
    head: [data.row, "mean rank", "not surely different from"],
    rows: strategy.map((name, at) => [name, mean[at].toFixed(2), unique(cliques.filter((clique) => clique.includes(name)).flat()).filter((other) => other !== name).join(", ")]),
  };
}

function rankPlot(place) {
  if (!data.ranks) return;
  addPlot(place, { id: "ranks", title: "Critical differences", about: `Mean ranks over ${data.ranks.tasks} settings, 1 is best; a bar joins those that do not surely differ (Nemenyi).`, draw: drawRanks });
}
