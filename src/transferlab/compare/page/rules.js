// What selection rules would have chosen: each against the oracle, and every strategy under each.

function rulesSection(place) {
  const quality = rowsOf(data.rule_quality);
  if (!quality.length) return place.append(el("p", { class: "quiet" }, "No run says what other rules would have chosen (rules=all asks for it)."));
  const share = (row) => (row.cells ? row.below / row.cells : null);
  place.append(sortable({ caption: "Selection rules against the oracle", rows: quality, columns: [
    { name: "rule", text: (row) => row.rule },
    number("runs", "runs", whole),
    number("rank correlation", "correlation", (value) => fixed(value, 2)),
    number(`gap to the oracle, ${metric.label}`, "gap", signed),
    number("collapsed", "collapsed", whole, { text: (row) => `${whole(row.collapsed)} of ${whole(row.runs_in_all)}` }),
    { name: "overhead of honesty (below source_only)", number: true, value: share,
      text: (row) => (row.cells ? `${fixed(100 * share(row), 1)} % (${whole(row.below)} of ${whole(row.cells)})` : DASH) },
  ] }).node);
  const names = unique(rowsOf(data.rules).map((row) => row.rule)).filter((rule) => rule !== "oracle");
  for (const [setting, rows] of grouped(rowsOf(data.rules), "setting")) {
    const groups = grouped(rows, "strategy");
    const strategies = table.filter((row) => row.setting === setting && groups.has(row.strategy))
      .map(({ strategy }) => ({ strategy, means: new Map(groups.get(strategy).map((row) => [row.rule, row.mean])) }));
    const columns = [...names, "oracle"].map((name) => ({ name, number: true, value: (row) => row.means.get(name), text: (row) => score(row.means.get(name)) }));
    place.append(sortable({ caption: `${data.settings[setting]}: ${metric.label} under each rule`, rows: strategies, columns: [{ name: data.row, text: (row) => row.strategy }, ...columns] }).node);
  }
}
