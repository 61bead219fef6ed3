// Scores of transferability: how far each, taken before training, put the candidates in the order that runs then had.

function foretoldSection(place) {
  const rows = rowsOf(data.foretold);
  if (!rows.length) return place.append(el("p", { class: "quiet" }, "No ranking of three or more of these runs’ sources and backbones was found (transferlab rank makes one)."));
  for (const [target, found] of grouped(rows, "target")) {
    const strategies = unique(found.map((row) => row.strategy));
    const scores = [...grouped(found, "score")].map(([name, taus]) => ({ name, taus: new Map(taus.map((row) => [row.strategy, row])) }));
    const columns = strategies.map((name) => ({ name, number: true, value: (row) => row.taus.get(name)?.tau,
      text: (row) => { const one = row.taus.get(name); return known(one?.tau) ? `${fixed(one.tau, 2)} (${whole(one.candidates)})` : DASH; } }));
    place.append(sortable({ caption: `${target}: weighted τ with ${metric.label} (candidates)`, rows: scores, columns: [{ name: "score", text: (row) => row.name }, ...columns] }).node);
  }
}
